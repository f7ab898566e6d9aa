"""The reasons for refused keys of Compose files, each with an alternative; pure."""

SERVICE = {
    "annotations": "are read by runtimes",
    "blkio_config": "names devices of the host",
    "build": "builds: give `image`, and build it where images are built",
    "cgroup_parent": "puts the container into a cgroup of the host",
    "configs": "reads files of the agent's host: mount a folder below mount_roots",
    "credential_spec": "reads files of the agent's host",
    "develop": "is for development",
    "device_cgroup_rules": "opens devices of the host",
    "env_file": "reads a file of the agent's host: give `environment`, and secret values as `env` of the request",
    "extends": "reads other files: copy the service into this file",
    "gpus": "opens devices of the host: name them in `devices`",
    "isolation": "is for Windows",
    "label_file": "reads a file of the agent's host: give `labels`",
    "links": "is obsolete: services reach each other by their names",
    "mac_address": "is not supported",
    "models": "is not supported",
    "post_start": "runs commands of its own: put them into the image",
    "pre_stop": "runs commands of its own: put them into the image",
    "profiles": "would leave services out: leave them out of the file",
    "provider": "runs a program on the agent's host",
    "runtime": "replaces the isolation of the container",
    "secrets": "reads files of the agent's host: give secret values as `env` of the request",
    "storage_opt": "is not supported",
    "use_api_socket": "hands the engine's socket to the container",
}
STACK = {
    "configs": "reads files of the agent's host: mount a folder below mount_roots",
    "include": "reads other files: write all of it into this one",
    "models": "is not supported",
    "secrets": "reads files of the agent's host: give secret values as `env` of the request",
}
VOLUME = {"driver_opts": "can name any folder of the host: mount a folder below mount_roots"}
NETWORK = {
    "driver_opts": "reaches into the host's network",
    "ipam": "is not supported: the engine chooses free addresses",
}
ATTACHMENT = {"driver_opts": "reaches into the host's network", "mac_address": "is not supported"}
RESOURCES = {"devices": "opens devices of the host: name them in `devices`"}
