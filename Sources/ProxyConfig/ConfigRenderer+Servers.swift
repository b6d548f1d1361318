import OrchestryModel

/// Who listens where, and what each path of it leads to.
extension ConfigRenderer {
    func address(_ port: Int) -> String {
        let host = layout.listenHost
        return host.utf8.contains(UInt8(ascii: ":")) ? "[\(host)]:\(port)" : "\(host):\(port)"
    }

    /// - Parameter first: the first server of its port, which says what holds for the port.
    private func listen(_ port: Int, first: Bool, secure: Bool = false, _ more: String = "") -> String {
        let both = first && layout.listenHost == "::" ? " ipv6only=off" : ""
        return "listen \(address(port))\(secure ? " ssl" : "")\(first ? " default_server" : "")\(more)\(both);"
    }

    func defaultServer(_ http: inout ConfigText) {
        http.block("server") { server in
            server.line(listen(layout.listenPort, first: true, " backlog=4096"), "server_name _;")
            server.block("location /") { notFound(&$0) }
        }
        guard let port = layout.httpsPort else { return }
        http.block("server") { server in
            // No certificate fits a name that nobody has: better no connection than the wrong one.
            server.line(
                listen(port, first: true, secure: true, " backlog=4096"), "server_name _;", "ssl_reject_handshake on;")
        }
    }

    private func notFound(_ location: inout ConfigText) {
        problem(404, layout.notFoundTitle, &location)
    }

    private func problem(_ status: Int, _ title: String, _ location: inout ConfigText) {
        location.line(
            "default_type application/problem+json;",
            "return \(status) '{\"status\":\(status),\"title\":\"\(ConfigText.json(title))\"}\\n';")
    }

    func server(
        _ server: ProxyStructure.Server, _ routes: [AppName: RoutingTable.Route], _ http: inout ConfigText
    ) {
        if let port = server.port {
            http.block("server") { block in
                block.line(listen(port, first: true, secure: server.certificate != nil), "server_name _;")
                if let certificate = server.certificate { use(certificate, &block) }
                locations(of: server, routes, isPlain: false, &block)
            }
            return
        }
        let names = "server_name \(server.hosts.joined(separator: " "));"
        http.block("server") { block in
            block.line(listen(layout.listenPort, first: false), names)
            locations(of: server, routes, isPlain: true, &block)
        }
        guard let certificate = server.certificate, let port = layout.httpsPort else { return }
        http.block("server") { block in
            block.line(listen(port, first: false, secure: true), names)
            use(certificate, &block)
            locations(of: server, routes, isPlain: false, &block)
        }
    }

    private func use(_ certificate: ProxyStructure.Certificate, _ block: inout ConfigText) {
        let path = ConfigText.quoted(layout.certificatePath(of: certificate.app))
        block.line(
            // The file's name stays when its content changes; this line makes it another configuration.
            "# Certificate \(certificate.fingerprint)", "ssl_certificate \(path);", "ssl_certificate_key \(path);")
    }

    /// - Parameter isPlain: whether apps that want TLS send clients there.
    private func locations(
        of server: ProxyStructure.Server, _ routes: [AppName: RoutingTable.Route], isPlain: Bool,
        _ block: inout ConfigText
    ) {
        block.line("add_header X-Request-Id $orchestry_request_id always;")
        if layout.mode == .lua {
            // One for each app: what ends there before an instance is chosen is still a request of that app.
            for app in Set(server.locations.map(\.app)).sorted() {
                block.block("location @problem_\(app)") {
                    $0.line(
                        "content_by_lua_block { orchestry.problem() }", "log_by_lua_block { orchestry.log(\"\(app)\") }"
                    )
                }
            }
        }
        for location in server.locations {
            guard let route = routes[location.app] else { continue }
            let body = { (text: inout ConfigText) in
                if isPlain && route.routing.tls?.redirect == true {
                    self.redirect(route, isServed: server.certificate != nil, &text)
                } else {
                    self.app(route, &text)
                }
            }
            if location.prefix == "/" {
                block.block("location /", body)
            } else {
                // Two, so that `/shop` leads to the app and `/shopping` does not.
                block.block("location = \(location.prefix)", body)
                block.block("location \(location.prefix)/", body)
            }
        }
        if !server.locations.contains(where: { $0.prefix == "/" }) {
            block.block("location /") { notFound(&$0) }
        }
    }

    /// Plain HTTP of an app that wants TLS.
    private func redirect(_ route: RoutingTable.Route, isServed: Bool, _ location: inout ConfigText) {
        guard isServed, let port = layout.httpsPort else {
            // What was to be encrypted is not served in the clear because the certificate is missing.
            location.line("add_header Retry-After 30 always;")
            location.line("add_header X-Request-Id $orchestry_request_id always;")
            problem(503, "The app is served over TLS only, and it has no certificate that can be used", &location)
            return
        }
        let suffix = port == 443 ? "" : ":\(port)"
        guard layout.trustedProxies.isEmpty else {
            // A load balancer that is believed may have ended TLS before us.
            location.line("if ($orchestry_scheme != https) { return 308 https://$host\(suffix)$request_uri; }")
            app(route, &location)
            return
        }
        location.line("return 308 https://$host\(suffix)$request_uri;")
    }

    private func app(_ route: RoutingTable.Route, _ location: inout ConfigText) {
        access(route.routing, &location)
        if layout.mode == .plain, let maintenance = route.routing.maintenance {
            location.line(
                "add_header Retry-After \(maintenance.retryAfterSeconds) always;",
                "add_header X-Request-Id $orchestry_request_id always;")
            problem(503, maintenance.message ?? "The app is being worked on", &location)
            return
        }
        if layout.mode == .plain && route.targets.isEmpty {
            location.line(
                "add_header Retry-After 1 always;", "add_header X-Request-Id $orchestry_request_id always;")
            problem(503, "No instance of the app is ready", &location)
            return
        }
        if layout.mode == .lua, route.activation != nil {
            location.line(
                "access_by_lua_block { orchestry.hold(\"\(route.app)\") }",
                // One whose client went away does not wait on.
                "lua_check_client_abort on;",
                // The node may be away: it looks by itself when it is back.
                "lua_socket_log_errors off;")
        }
        let seconds = min(max(route.routing.readTimeoutSeconds, 1), 3600)
        location.line(
            "client_max_body_size \(max(0, route.routing.maxBodyBytes));", "proxy_read_timeout \(seconds)s;",
            "proxy_pass http://app_\(route.app);")
        if layout.mode == .lua {
            location.line(
                "error_page 403 413 502 504 @problem_\(route.app);",
                "log_by_lua_block { orchestry.log(\"\(route.app)\") }")
        }
    }

    /// By the real client's address. What is denied stays so within a range that is allowed.
    private func access(_ routing: AppSpec.Routing, _ location: inout ConfigText) {
        for range in routing.deny ?? [] { location.line("deny \(range);") }
        guard let allowed = routing.allow, !allowed.isEmpty else { return }
        for range in allowed { location.line("allow \(range);") }
        location.line("deny all;")
    }
}

/// The REST facade behind the same nginx.
extension ConfigRenderer {
    func facade(_ api: ProxyLayout.API, _ http: inout ConfigText) {
        guard api.host != nil || api.port != nil else { return }
        http.block("map $http_idempotency_key $orchestry_idempotency_key") {
            // With a key of its own, a write that may have reached a dying leader can be sent again.
            $0.line("'' \"proxy-$request_id\";", "default $http_idempotency_key;")
        }
        http.block("upstream orchestry_api") { block in
            switch layout.mode {
            case .lua: block.line("server 0.0.0.1;", "balancer_by_lua_block { orchestry_api.balance() }")
            case .plain: block.line("server \(Endpoint(host: api.ownHost, port: api.ownPort)) max_fails=0;")
            }
            block.line("keepalive 16;", "keepalive_timeout \(layout.keepaliveSeconds)s;")
        }
        if let host = api.host {
            http.block("server") { block in
                block.line(listen(layout.listenPort, first: false), "server_name \(host);")
                facadeLocations(api, &block)
            }
        }
        if let port = api.port {
            http.block("server") { block in
                block.line(listen(port, first: true), "server_name _;")
                facadeLocations(api, &block)
            }
        }
    }

    private func facadeLocations(_ api: ProxyLayout.API, _ block: inout ConfigText) {
        block.line("error_page 502 504 =503 @orchestry_api_problem;")
        block.block("location @orchestry_api_problem") { location in
            location.line("add_header Retry-After 1 always;", "internal;")
            problem(503, "No node of the cluster answers", &location)
        }
        block.block("location ~ ^/apps/[^/]+/exec$") { location in
            // A WebSocket, on which the node says something more often than this.
            location.line("proxy_set_header Upgrade $http_upgrade;", "proxy_set_header Connection upgrade;")
            requestHeaders(&location)
            location.line(
                "proxy_pass_header X-Request-Id;", "proxy_read_timeout 90s;",
                // 503: the command was not begun. After an error it may have been, and must not be run twice.
                "proxy_next_upstream http_503;", "proxy_next_upstream_tries 4;",
                "proxy_next_upstream_timeout 20s;", "proxy_pass http://orchestry_api;")
        }
        block.block("location /") { location in
            location.line("proxy_set_header Connection '';")
            requestHeaders(&location)
            location.line(
                "proxy_set_header Idempotency-Key $orchestry_idempotency_key;", "proxy_pass_header X-Request-Id;",
                "client_max_body_size \(api.maxBodyBytes);",
                // Events are passed on as they come; a stream says something more often than this.
                "proxy_buffering off;", "proxy_read_timeout 90s;",
                // A node that knows no leader answers 503 and has changed nothing.
                "proxy_next_upstream error timeout http_502 http_503 non_idempotent;", "proxy_next_upstream_tries 4;",
                "proxy_next_upstream_timeout 20s;", "proxy_pass http://orchestry_api;")
        }
    }
}
