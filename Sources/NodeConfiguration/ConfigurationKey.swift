/// One setting: its name, type, default and the environment variables that may carry it.
package struct ConfigurationKey: Sendable, Hashable {
    package enum Kind: String, Sendable {
        case string
        case integer
        case boolean
        /// A number and a unit: `250ms`, `5s`, `2m`, `1h`.
        case duration
        /// A YAML list; comma-separated in the environment.
        case list
    }
    /// Dotted: `postgres.pool_size`. In the environment `ORCHESTRY_POSTGRES_POOL_SIZE`.
    package let name: String
    package let kind: Kind
    /// As it would be written in the file; nil: must be given, or is optional where the loader says so.
    package let defaultText: String?
    /// The original's variable names, tried after our own.
    package let aliases: [String]
    /// Masked by `config show` and left out of every message.
    package let isSecret: Bool
    /// One line for `config show` and the documentation.
    package let summary: String

    init(
        _ name: String, _ kind: Kind, default defaultText: String? = nil, aliases: [String] = [], secret: Bool = false,
        _ summary: String
    ) {
        self.name = name
        self.kind = kind
        self.defaultText = defaultText
        self.aliases = aliases
        self.isSecret = secret
        self.summary = summary
    }

    package var environmentName: String {
        "ORCHESTRY_" + name.uppercased().replacing(".", with: "_")
    }
}

extension ConfigurationKey {
    /// Every setting there is. What is not in here is refused.
    package static let catalogue: [ConfigurationKey] = [
        .init("node.id", .string, aliases: ["CLUSTER_NODE_ID"], "This node's name, a DNS label unique in the cluster."),
        .init(
            "node.role", .string, default: "controller",
            "`controller` votes and may lead; `worker` only runs containers, and uses no `postgres.*` and `leadership.*`."
        ),
        .init(
            "node.data_dir", .string, default: "/var/lib/orchestry",
            "Folder of the metrics cache, the outbox and the proxy."),
        .init("node.dead_after", .duration, default: "30s", "A silent node's instances are re-placed after this long."),
        .init("cluster.id", .string, default: "orchestry", "Name of the cluster; labels its containers."),
        .init(
            "cluster.host", .string, default: "127.0.0.1",
            "Address this node's cluster port binds to and is reached at."),
        .init("cluster.port", .integer, default: "7100", "Cluster port."),
        .init("cluster.peers", .list, default: "", "Every controller, this one too: `id=host:port`."),
        .init("cluster.security", .string, default: "mtls", "`mtls`, or `plain` with `cluster.secret`."),
        .init("cluster.tls_ca", .string, default: "", "PEM file of the cluster's CA certificate."),
        .init("cluster.tls_certificate", .string, default: "", "PEM file of this node's certificate."),
        .init("cluster.tls_key", .string, default: "", "PEM file of this node's private key."),
        .init(
            "cluster.tls_key_log", .string, default: "",
            "File that TLS secrets are appended to, for Wireshark. Who has it can read all cluster traffic."),
        .init(
            "cluster.tls_check_interval", .duration, default: "5s",
            "How often these files are looked at for changes, which are taken up without a restart; SIGHUP: at once."),
        .init(
            "cluster.secret", .string, default: "", secret: true, "Shared secret of plain TCP, 16 characters or more."),
        .init("leadership.heartbeat_interval", .duration, default: "100ms", "How often a leader asks for promises."),
        .init("leadership.promise", .duration, default: "500ms", "How long an acknowledged heartbeat binds a voter."),
        .init("leadership.lease_ttl", .duration, default: "5s", "How long the lease in PostgreSQL lasts."),
        .init("leadership.renew_interval", .duration, default: "1s", "How often it is renewed."),
        .init("api.host", .string, default: "127.0.0.1", aliases: ["ORCHESTRY_HOST"], "Address of the REST facade."),
        .init("api.port", .integer, default: "8000", aliases: ["ORCHESTRY_PORT"], "Port of the REST facade."),
        .init(
            "api.url", .string, default: "",
            "Base URL under which others reach it; default `http[s]://<api.host>:<api.port>`."),
        .init(
            "api.allow_unauthenticated", .boolean, default: "false",
            "Lets the REST facade listen beyond loopback with `auth.mode: off`."),
        .init(
            "api.tls_certificate", .string, default: "",
            "PEM file with the REST facade's certificate chain: it then speaks HTTPS only. Taken up anew when it changes."
        ),
        .init("api.tls_key", .string, default: "", "PEM file with its private key."),
        .init(
            "api.cors_origins", .list, default: "",
            "Origins, as `https://host[:port]`, whose pages may use the API from a browser; none by default."),
        .init(
            "auth.mode", .string, default: "off",
            "`required`: every request but `/health` and `/openapi.json` needs a token. `off`: on loopback only."),
        .init(
            "auth.bootstrap_token_file", .string, default: "",
            "File with a token that is an admin's on this node; `orchestry token generate` makes one."),
        .init(
            "auth.jwt_secret_file", .string, default: "", "File with the secret of HS256 tokens, 32 bytes or more."),
        .init(
            "auth.jwt_jwks_file", .string, default: "",
            "Key set (JWKS) of RS256, ES256 and EdDSA tokens. Taken up anew when it changes."),
        .init("auth.jwt_issuer", .string, default: "", "`iss` of JSON Web Tokens; needed with either file."),
        .init("auth.jwt_audience", .string, default: "", "`aud` of JSON Web Tokens; needed with either file."),
        .init("auth.jwt_leeway", .duration, default: "30s", "How far the issuer's clock may be off, up to 5m."),
        .init(
            "auth.jwt_role_claim", .string, default: "role",
            "Claim with the role (viewer, operator, admin), or a list of roles; `a.b` is claim `b` in `a`."),
        .init(
            "auth.jwt_apps_claim", .string, default: "apps",
            "Claim with the list of apps that a token is limited to; a token without it is for all."),
        .init("api.leader_wait", .duration, default: "3s", "How long a write waits for a leader before 503."),
        .init("api.max_body_bytes", .integer, default: "1048576", "Largest request body."),
        .init(
            "postgres.url", .string, default: "", secret: true, "libpq URI; replaces the other `postgres.*` addresses."),
        .init(
            "postgres.host", .string, default: "127.0.0.1", aliases: ["POSTGRES_HOST"],
            "Host, or several separated by commas."),
        .init("postgres.port", .integer, default: "5432", aliases: ["POSTGRES_PORT"], "Port."),
        .init("postgres.database", .string, default: "orchestry", aliases: ["POSTGRES_DB"], "Database name."),
        .init("postgres.user", .string, default: "orchestry", aliases: ["POSTGRES_USER"], "User."),
        .init("postgres.password", .string, default: "", aliases: ["POSTGRES_PASSWORD"], secret: true, "Password."),
        .init(
            "postgres.lease_url", .string, default: "", secret: true,
            "libpq URI for the lease alone, past a pooler in front of PostgreSQL; default: as the rest."),
        .init(
            "postgres.replica_url", .string, default: "", secret: true,
            "libpq URI of a standby for reads that may be a little old: events, decisions, history."),
        .init(
            "postgres.replica_max_lag", .duration, default: "5s",
            "How old what the replica answers may be, 2s…1h; else the primary is asked."),
        .init("postgres.pool_size", .integer, default: "4", "Connections beside the lease's own, 1…64."),
        .init("retention.events_days", .integer, default: "90", "Days that events are kept in PostgreSQL, 1…3650."),
        .init(
            "retention.metrics_days", .integer, default: "7",
            "Days that the apps' metrics are kept in PostgreSQL, 1…3650."),
        .init(
            "retention.archive_dir", .string, default: "",
            "Folder that the leading node puts older rows in, compressed, before they are dropped; empty: only dropped."
        ),
        .init("engine.socket", .string, default: "/var/run/docker.sock", "Unix socket of the container engine."),
        .init("engine.network", .string, default: "", "Network of the containers; default `orchestry-<cluster.id>`."),
        .init(
            "engine.endpoints", .string, default: "container",
            "`container`: route to container addresses; `published`: to ports published on `cluster.host`."),
        .init(
            "engine.cpu_millicores", .integer, default: "0", "CPU that instances may reserve; 0: what the engine has."),
        .init(
            "engine.memory_bytes", .integer, default: "0", "Memory that instances may reserve; 0: what the engine has."),
        .init(
            "engine.bind_allow", .list, default: "",
            "Folders of this host below which apps may mount; none by default."),
        .init("engine.seccomp_dir", .string, default: "", "Folder with the seccomp profiles that apps may name."),
        .init(
            "engine.scan_command", .list, default: "",
            "Program and arguments that look at an image before a revision's first instance; `{image}` stands for it. "
                + "Ending with anything but 0 it refuses the revision."),
        .init("engine.keep_images", .integer, default: "3", "Pulled images kept of each app, 0…1000; 0: all."),
        .init("engine.log_max_size", .string, default: "10m", "A container's log file is rotated at this size."),
        .init("engine.log_max_files", .integer, default: "3", "Log files kept of a container, 1…100."),
        .init(
            "secrets.key_file", .string, default: "",
            "File with the keys that seal secrets, the same on every node; `orchestry secret key` makes one."),
        .init("proxy.enabled", .boolean, default: "true", "Run nginx on this node."),
        .init("proxy.binary", .string, default: "nginx", "The nginx program."),
        .init("proxy.host", .string, default: "127.0.0.1", "Address nginx listens on for the apps."),
        .init("proxy.port", .integer, default: "8080", "Port nginx listens on for the apps."),
        .init("proxy.mode", .string, default: "auto", "`lua`, `plain`, or `auto`: Lua where the module is there."),
        .init("proxy.workers", .integer, default: "1", "nginx worker processes, 1…64."),
        .init(
            "proxy.https_port", .integer, default: "0",
            "Port nginx serves apps with a certificate on, over TLS; 0: none."),
        .init(
            "proxy.trusted_proxies", .list, default: "",
            "Load balancers before nginx, as addresses or networks (CIDR): their `X-Forwarded-*` is believed, nobody else's."
        ),
        .init(
            "proxy.shutdown_timeout", .duration, default: "1h",
            "How long connections (websockets, downloads) may outlive a change of nginx's configuration."),
        .init(
            "proxy.api_host", .string, default: "",
            "Host name under which nginx leads to the REST facades of the cluster; empty: none."),
        .init(
            "proxy.api_port", .integer, default: "0",
            "Port of nginx that leads to the REST facades of the cluster; 0: none."),
        .init("log.level", .string, default: "info", "trace, debug, info, notice, warning, error or critical."),
        .init("log.format", .string, default: "json", "`json` or `text`."),
    ]
}
