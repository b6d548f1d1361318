import OrchestryModel

/// A rendered configuration.
public struct RenderedConfig: Hashable, Sendable {
    public var text: String
    /// 16 hexadecimal digits, equal exactly for equal texts; the running nginx answers it at `/generation`.
    public var generation: String
}

/// Renders the whole configuration of one node's nginx. Equal input gives equal bytes.
/// In `.lua` mode endpoints, weights and balancing methods are not part of it.
public struct ConfigRenderer: Sendable {
    let layout: ProxyLayout
    private let capacity: ProxyCapacity

    public init(layout: ProxyLayout, capacity: ProxyCapacity = ProxyCapacity()) {
        self.layout = layout
        self.capacity = capacity
    }

    public func render(_ structure: ProxyStructure) -> RenderedConfig {
        var body = ConfigText()
        main(&body)
        body.block("events") { $0.line("worker_connections \(layout.workerConnections);") }
        // The admin server names the generation, so the text is rendered with a mark in its place first.
        let mark = "\u{1}"
        body.block("http") { http in
            base(&http)
            forwarding(&http)
            proxyDefaults(&http)
            if layout.httpsPort != nil || structure.servers.contains(where: { $0.certificate != nil }) { tls(&http) }
            if layout.mode == .lua { lua(&http) }
            for include in layout.includes { http.line("include \(ConfigText.quoted(include));") }
            for route in structure.routes { upstream(route, &http) }
            admin(mark, &http)
            defaultServer(&http)
            if let api = layout.api { facade(api, &http) }
            let routes = Dictionary(uniqueKeysWithValues: structure.routes.map { ($0.app, $0) })
            for server in structure.servers { self.server(server, routes, &http) }
        }
        let generation = fingerprint([body.text.utf8])
        let parts = body.text.split(separator: mark, omittingEmptySubsequences: false)
        return RenderedConfig(text: parts.joined(separator: generation), generation: generation)
    }

    /// A configuration that does nothing but read a file with a certificate and its key, for nginx to test.
    package func certificateTest(_ path: String) -> String {
        var text = ConfigText()
        main(&text)
        text.block("events") { $0.line("worker_connections 16;") }
        text.block("http") { http in
            base(&http)
            http.block("server") {
                $0.line("listen \(address(layout.listenPort)) ssl;", "ssl_certificate \(ConfigText.quoted(path));")
                $0.line("ssl_certificate_key \(ConfigText.quoted(path));")
            }
        }
        return text.text
    }

    private func main(_ text: inout ConfigText) {
        text.line("# Written by orchestryd, and overwritten by it: changes made here are lost.")
        for module in layout.modulePaths { text.line("load_module \(ConfigText.quoted(module));") }
        if let user = layout.user { text.line("user \(user);") }
        text.line(
            "worker_processes \(layout.workerProcesses);",
            "worker_shutdown_timeout \(layout.shutdownSeconds)s;",
            "pid \(ConfigText.quoted(layout.pidPath));",
            "error_log \(ConfigText.quoted(layout.errorLogPath)) \(layout.errorLogLevel.rawValue);")
    }

    private func base(_ http: inout ConfigText) {
        for kind in ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"] {
            http.line("\(kind)_temp_path \(ConfigText.quoted(layout.folder + "/temp/" + kind));")
        }
        http.line(
            "default_type application/octet-stream;", "server_tokens off;", "tcp_nodelay on;",
            "server_names_hash_bucket_size 512;", "server_names_hash_max_size 8192;",
            "variables_hash_max_size 2048;", "large_client_header_buffers 4 16k;", "client_header_timeout 15s;",
            "keepalive_timeout 75s;", "keepalive_requests 100000;", "reset_timedout_connection on;")
        if let accessLog = layout.accessLog {
            http.line(
                "log_format orchestry escape=json '{\"time\":\"$time_iso8601\",\"host\":\"$host\",'",
                "    '\"method\":\"$request_method\",\"uri\":\"$request_uri\",\"status\":\"$status\",'",
                "    '\"bytes\":$body_bytes_sent,\"seconds\":$request_time,\"client\":\"$remote_addr\",'",
                "    '\"upstream\":\"$upstream_addr\",\"upstream_status\":\"$upstream_status\",'",
                "    '\"request_id\":\"$orchestry_request_id\"}';",
                "access_log \(ConfigText.quoted(accessLog)) orchestry buffer=64k flush=1s;")
        } else {
            http.line("access_log off;")
        }
    }

    private func proxyDefaults(_ http: inout ConfigText) {
        // Only WebSocket: other upgrades (h2c, say) would let a client speak to the app past this proxy.
        http.block("map $http_upgrade $orchestry_upgrade") {
            $0.line("\"~*^websocket$\" websocket;", "default '';")
        }
        http.block("map $orchestry_upgrade $orchestry_connection") {
            $0.line("websocket upgrade;", "default '';")
        }
        http.block("map $http_x_request_id $orchestry_request_id") {
            $0.line("\"~^[A-Za-z0-9._-]{1,128}$\" $http_x_request_id;", "default $request_id;")
        }
        http.line(
            "proxy_http_version 1.1;", "proxy_set_header Upgrade $orchestry_upgrade;",
            "proxy_set_header Connection $orchestry_connection;")
        requestHeaders(&http)
        http.line(
            "proxy_hide_header X-Request-Id;",
            // A header of an app must not send nginx looking for other locations.
            "proxy_ignore_headers X-Accel-Redirect;",
            "proxy_connect_timeout \(layout.connectTimeoutSeconds)s;", "proxy_send_timeout 60s;",
            // Without `non_idempotent`, a POST that reached an instance is never sent twice.
            "proxy_next_upstream error timeout;", "proxy_next_upstream_tries \(layout.tries);",
            "proxy_next_upstream_timeout \(layout.retryTimeoutSeconds)s;", "proxy_buffer_size 16k;",
            "proxy_buffers 8 16k;")
    }

    private func lua(_ http: inout ConfigText) {
        // Workers of several generations live side by side while long requests of the older ones end.
        let slots = min(max(64, layout.workerProcesses * 8), 512)
        let path = [layout.luaFolder + "/?.lua", layout.luaPackagePath].filter { !$0.isEmpty }.joined(separator: ";")
        http.line(
            "# Lua code \(LuaSources.version)", "lua_package_path \(ConfigText.quoted(path));",
            "lua_shared_dict orchestry 32m;")
        http.block("init_by_lua_block") {
            $0.line("orchestry = require \"orchestry\"", "orchestry_admin = require \"orchestry_admin\"")
            if layout.api != nil { $0.line("orchestry_api = require \"orchestry_api\"") }
            $0.line("orchestry.init {")
            $0.line("    apps = \(capacity.apps), instances = \(capacity.instances), slots = \(slots),")
            $0.line("    tries = \(layout.tries), aside = \(layout.asideSeconds),")
            $0.line("    membership = \(ConfigText.quoted(layout.membershipPath)),")
            $0.line("    wake = \(ConfigText.quoted(layout.wakeSocketPath)),")
            $0.line("}")
            if layout.api != nil { $0.line("orchestry_api.init(\(ConfigText.quoted(layout.facadesPath)))") }
        }
        http.line("init_worker_by_lua_block { orchestry.start() }", "exit_worker_by_lua_block { orchestry.stop() }")
    }

    private func upstream(_ route: RoutingTable.Route, _ http: inout ConfigText) {
        if layout.mode == .plain && route.targets.isEmpty { return }
        http.block("upstream app_\(route.app)") { block in
            switch layout.mode {
            case .lua:
                block.line("server 0.0.0.1;", "balancer_by_lua_block { orchestry.balance(\"\(route.app)\") }")
            case .plain:
                switch route.routing.method {
                case .leastConnections: block.line("least_conn;")
                case .ipHash: block.line("hash $remote_addr consistent;")
                case .random: block.line("random two least_conn;")
                }
                block.line("zone app_\(route.app) 256k;")
                // An instance that fails is left alone for 2 s, but never all of them: once more as a last resort where
                // the method allows it, and not at all where it does not.
                let canBeAside = route.routing.method == .leastConnections && route.targets.count > 1
                for target in route.targets {
                    let weight = min(max(target.weight, 1), 100)
                    let limits = canBeAside ? "max_fails=1 fail_timeout=2s" : "max_fails=0"
                    block.line("server \(target.endpoint) weight=\(weight) \(limits);")
                }
                for target in route.targets where canBeAside {
                    block.line("server \(target.endpoint) max_fails=0 backup;")
                }
            }
            block.line(
                "keepalive \(layout.keepaliveConnections);", "keepalive_timeout \(layout.keepaliveSeconds)s;",
                "keepalive_requests 100000;")
        }
    }

    private func admin(_ generation: String, _ http: inout ConfigText) {
        http.block("server") { server in
            server.line(
                "listen unix:\(layout.adminSocketPath);", "access_log off;", "default_type text/plain;",
                "keepalive_timeout 0;")
            server.block("location = /generation") { $0.line("return 200 \"\(generation)\\n\";") }
            server.block("location = /status") { $0.line("stub_status;") }
            guard layout.mode == .lua else { return }
            server.block("location = /counters") { $0.line("content_by_lua_block { orchestry_admin.counters() }") }
            server.block("location = /held") { $0.line("content_by_lua_block { orchestry_admin.held() }") }
            server.block("location = /membership") {
                $0.line(
                    "client_max_body_size 64m;", "client_body_buffer_size 1m;",
                    "content_by_lua_block { orchestry_admin.membership() }")
            }
            if layout.api != nil {
                server.block("location = /facades") { $0.line("content_by_lua_block { orchestry_admin.facades() }") }
            }
        }
    }
}
