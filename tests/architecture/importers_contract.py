"""A contract of import-linter: a table of third-party packages and their permitted importers."""

from grimp import ImportGraph
from importlinter import Contract, ContractCheck, fields, output


class Importers(Contract):
    """Compare the importers of third-party packages with a table of lines such as `yaml: writ_documents`.

    A new package of ours needs no entry. A third-party package without an importer also breaks the contract, so the
    table keeps no stale entry.
    """

    type_name = "importers"
    # import-linter puts the values in the place of the fields.
    importers: list[str] = fields.ListField(subfield=fields.StringField())  # type: ignore[assignment]
    exempt: list[str] = fields.ListField(subfield=fields.StringField())  # type: ignore[assignment]

    def check(self, graph: ImportGraph, verbose: bool) -> ContractCheck:
        """Find importers missing from the table, and lines without any importer."""
        wrong = [problem for line in self.importers for problem in self._problems(graph, line)]
        return ContractCheck(kept=not wrong, metadata={"wrong": wrong})

    def _problems(self, graph: ImportGraph, line: str) -> list[str]:
        third_party, _, named = line.partition(":")
        owners = {*named.replace(",", " ").split(), *self.exempt}
        modules = graph.find_modules_that_directly_import(third_party) if third_party in graph.modules else set()
        strangers = sorted(module for module in modules if module.partition(".")[0] not in owners)
        problems = [f"{module} imports {third_party}, which is for {named.strip()}" for module in strangers]
        return problems if modules else [f"nothing imports {third_party}"]

    def render_broken_contract(self, check: ContractCheck) -> None:
        """Print one line for each importer outside the table."""
        for problem in check.metadata["wrong"]:
            output.print_error(problem)
