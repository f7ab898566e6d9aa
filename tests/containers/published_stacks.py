"""Stacks modelled on published ones for self-hosting, each with its flags or the reason against it."""

Verdict = frozenset[str] | str


def needs(*flags: str) -> frozenset[str]:
    """Return the flags that a stack needs because it breaks out of its containers; none for an isolated stack."""
    return frozenset(f"allow_{flag}" for flag in flags)


PUBLISHED: dict[str, tuple[str, Verdict]] = {
    "a forge with its database": (
        """
services:
  server:
    image: docker.gitea.com/gitea:1.22
    environment: [USER_UID=1000, GITEA__database__DB_TYPE=postgres, 'GITEA__database__PASSWD=${PASSWORD}']
    restart: always
    volumes: ["gitea:/data", "/srv/stacks/etc/localtime:/etc/localtime:ro"]
    ports: ["3000:3000", "222:22"]
    depends_on: [db]
  db:
    image: postgres:14
    restart: always
    environment: {POSTGRES_USER: gitea, POSTGRES_PASSWORD: "${PASSWORD}", POSTGRES_DB: gitea}
    volumes: ["postgres:/var/lib/postgresql/data"]
volumes: {gitea: , postgres: }
""",
        needs(),
    ),
    "a cloud with cache and database": (
        """
services:
  app:
    image: nextcloud:fpm
    volumes: ["nextcloud:/var/www/html"]
    environment: {MYSQL_HOST: db, REDIS_HOST: redis}
    depends_on: {db: {condition: service_healthy}, redis: {condition: service_started}}
  web: {image: nginx, ports: ["127.0.0.1:8080:80"], volumes: ["nextcloud:/var/www/html:ro"]}
  db:
    image: mariadb:11
    command: --transaction-isolation=READ-COMMITTED --log-bin=binlog
    environment: {MYSQL_RANDOM_ROOT_PASSWORD: "1", MYSQL_PASSWORD: "${PASSWORD}"}
    healthcheck: {test: [CMD, healthcheck.sh, --connect, --innodb_initialized], start_period: 10s}
    volumes: ["db:/var/lib/mysql"]
  redis: {image: redis:alpine, restart: unless-stopped}
volumes: {nextcloud: {}, db: {}}
""",
        needs(),
    ),
    "a password manager": (
        """
services:
  vaultwarden:
    image: vaultwarden/server:1.32.0
    container_name: vaultwarden
    environment: {DOMAIN: "https://vault.example.org", SIGNUPS_ALLOWED: "false"}
    volumes: ["/srv/stacks/vaultwarden:/data/"]
    ports: ["127.0.0.1:8000:80"]
""",
        needs(),
    ),
    "a broker in one process": (
        """
services:
  broker:
    image: apache/kafka:3.8.0
    hostname: broker
    ports: ["9092:9092"]
    environment:
      KAFKA_PROCESS_ROLES: broker,controller
      KAFKA_CONTROLLER_QUORUM_VOTERS: 1@broker:29093
      KAFKA_LISTENERS: PLAINTEXT://broker:29092,CONTROLLER://broker:29093,PLAINTEXT_HOST://0.0.0.0:9092
""",
        needs(),
    ),
    "a replica set that starts itself": (
        """
services:
  mongo:
    image: mongo:7
    command: [--replSet, rs0, --bind_ip_all]
    healthcheck:
      test: echo "try { rs.status() } catch (e) { rs.initiate() }" | mongosh --port 27017 --quiet && exit $${?}
      interval: 5s
      retries: 30
    volumes: ["mongo:/data/db"]
volumes: {mongo: }
""",
        needs(),
    ),
    "object storage": (
        """
services:
  minio:
    image: quay.io/minio/minio:RELEASE.2024-10-02T17-50-41Z
    command: server /data --console-address ":9001"
    environment: {MINIO_ROOT_USER: admin, MINIO_ROOT_PASSWORD: "${PASSWORD}"}
    ports: ["9000:9000", "9001:9001"]
    volumes: [{type: volume, source: data, target: /data}]
volumes: {data: {labels: {backup: "yes"}}}
""",
        needs(),
    ),
    "a search engine with locked memory": (
        """
services:
  search:
    image: opensearchproject/opensearch:2
    environment: [discovery.type=single-node, bootstrap.memory_lock=true, "OPENSEARCH_JAVA_OPTS=-Xms512m -Xmx512m"]
    ulimits: {memlock: {soft: -1, hard: -1}, nofile: {soft: 65536, hard: 65536}}
    volumes: ["search:/usr/share/opensearch/data"]
volumes: {search: }
""",
        needs(),
    ),
    "a resolver that filters": (
        """
services:
  pihole:
    image: pihole/pihole:2024.07.0
    ports: ["53:53/tcp", "53:53/udp", "80:80/tcp"]
    environment: {TZ: Europe/Berlin, WEBPASSWORD: "${PASSWORD}"}
    volumes: ["/srv/stacks/pihole:/etc/pihole"]
    cap_add: [NET_ADMIN]
    restart: unless-stopped
""",
        needs("capabilities"),
    ),
    "a tunnel": (
        """
services:
  wireguard:
    image: lscr.io/linuxserver/wireguard:1.0.20210914
    cap_add: [NET_ADMIN, SYS_MODULE]
    environment: [PUID=1000, PGID=1000, PEERS=2]
    volumes: ["/srv/stacks/wireguard:/config", "/lib/modules:/lib/modules"]
    ports: ["51820:51820/udp"]
    sysctls: [net.ipv4.conf.all.src_valid_mark=1]
""",
        needs("capabilities", "host_mounts", "unconfined"),
    ),
    "home automation on the host's network": (
        """
services:
  homeassistant:
    image: ghcr.io/home-assistant/home-assistant:stable
    volumes: ["/srv/stacks/ha:/config", "/run/dbus:/run/dbus:ro"]
    restart: unless-stopped
    privileged: true
    network_mode: host
""",
        needs("privileged", "host_network", "host_mounts"),
    ),
    "a page to manage the engine": (
        """
services:
  portainer:
    image: portainer/portainer-ce:2.21.0
    ports: ["9443:9443"]
    volumes: ["data:/data", "/var/run/docker.sock:/var/run/docker.sock"]
volumes: {data: }
""",
        needs("host_mounts", "engine_socket"),
    ),
    "updates of other containers": (
        "services: {watchtower: {image: containrrr/watchtower, volumes: ['/run/docker.sock:/var/run/docker.sock']}}",
        needs("host_mounts", "engine_socket"),
    ),
    "metrics of the host": (
        """
services:
  node_exporter:
    image: quay.io/prometheus/node-exporter:v1.8.2
    command: ["--path.rootfs=/host"]
    network_mode: host
    pid: host
    volumes: ["/:/host:ro"]
""",
        needs("host_network", "host_namespaces", "host_mounts", "engine_socket"),
    ),
    "metrics of containers": (
        """
services:
  cadvisor:
    image: gcr.io/cadvisor/cadvisor:v0.49.1
    privileged: true
    devices: [/dev/kmsg]
    volumes: ["/:/rootfs:ro", "/var/run:/var/run:ro", "/sys:/sys:ro", "/var/lib/docker:/var/lib/docker:ro"]
""",
        needs("privileged", "devices", "host_mounts", "engine_socket"),
    ),
    "films with a graphics card": (
        """
services:
  jellyfin:
    image: jellyfin/jellyfin:10.9
    user: "1000:1000"
    devices: ["/dev/dri/renderD128:/dev/dri/renderD128"]
    volumes: ["/srv/stacks/jellyfin:/config", "/srv/media:/media:ro"]
""",
        needs("devices", "host_mounts"),
    ),
    "a monitor that looks into processes": (
        """
services:
  netdata:
    image: netdata/netdata:v1.47
    pid: host
    cap_add: [SYS_PTRACE, SYS_ADMIN]
    security_opt: ["apparmor:unconfined"]
    volumes: ["/proc:/host/proc:ro"]
""",
        needs("host_namespaces", "capabilities", "unconfined", "host_mounts", "engine_socket"),
    ),
    "a proxy in a network of others": (
        """
services:
  caddy: {image: caddy:2, ports: ["443:443", "443:443/udp"], networks: [edge], volumes: ["certs:/data"]}
networks: {edge: {external: true}}
volumes: {certs: }
""",
        needs("shared"),
    ),
    "an environment in common": (
        """
x-common: &common {restart: always}
services:
  worker: {<<: *common, image: apache/airflow:2.10.0}
""",
        "merge keys (<<) are not allowed",
    ),
    "a configuration beside the file": (
        "services: {prometheus: {image: 'prom/prometheus:v2', volumes: ['./prometheus.yml:/etc/prometheus.yml']}}",
        "volumes has a source that is neither",
    ),
    "variables beside the file": (
        "services: {api: {image: 'supabase/postgrest:v12', env_file: [.env]}}",
        "env_file reads a file",
    ),
    "passwords as files": (
        """
services: {db: {image: 'mysql:8', secrets: [root], environment: {MYSQL_ROOT_PASSWORD_FILE: /run/secrets/root}}}
secrets: {root: {file: ./root.txt}}
""",
        "secrets reads",
    ),
    "built from its source": (
        "services: {web: {build: {context: ., dockerfile: Dockerfile}, image: 'me/web', ports: ['80:80']}}",
        "web.build builds",
    ),
    "an address of its own in the network": (
        "services: {a: {image: a, networks: [lan]}}\nnetworks: {lan: {driver: macvlan, driver_opts: {parent: eth0}}}",
        "networks.lan",
    ),
    "a share as a volume": (
        """
services: {app: {image: app, volumes: ['nfs:/data']}}
volumes: {nfs: {driver_opts: {type: nfs, o: 'addr=10.0.0.9,rw', device: ':/export'}}}
""",
        "driver_opts can name any folder",
    ),
    "services for some": (
        "services: {app: {image: app}, debug: {image: adminer, profiles: [debug]}}",
        "profiles",
    ),
}
