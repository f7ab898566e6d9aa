"""URL of the NATS server of an installation, found in its folder."""

from writ_installation.files.home import Home
from writ_installation.files.lock import holder
from writ_installation.processes.report import read_report
from writ_installation.server_access.server_address import address_of
from writ_installation.server_access.server_tls import encrypted, is_on


def running_url(home: Home) -> str | None:
    """Return the URL for clients on this machine; None where no server is known to run."""
    if home.site is not None and home.split:
        url = address_of(home.site).url
        return encrypted(url) if is_on(home) else url
    report = read_report(home.report_file)
    return report.url if report is not None and holder(home.lock) is not None else None


def public_url(home: Home) -> str | None:
    """Return the URL for other hosts, as given to `writ init`; else as `running_url`."""
    if home.site is None:
        return running_url(home)
    return encrypted(home.site.url) if is_on(home) else home.site.url
