import OrchestryModel

/// Who is asking: what the app is told, and of that nothing that a client could have made up.
extension ConfigRenderer {
    /// Headers that some apps believe and that only we, or a trusted proxy before us, could truthfully set. `Proxy` has
    /// CGI programs send their own requests through it.
    static let dropped = [
        "Forwarded", "X-Forwarded-Server", "X-Forwarded-Prefix", "X-Forwarded-Scheme", "X-Forwarded-Ssl", "X-Client-IP",
        "X-Cluster-Client-IP", "True-Client-IP", "X-Original-URL", "X-Rewrite-URL", "Proxy",
    ]

    func forwarding(_ http: inout ConfigText) {
        guard !layout.trustedProxies.isEmpty else { return }
        for proxy in layout.trustedProxies { http.line("set_real_ip_from \(proxy);") }
        http.line("real_ip_header X-Forwarded-For;", "real_ip_recursive on;")
        http.block("geo $realip_remote_addr $orchestry_trusted") { block in
            block.line("default 0;")
            for proxy in layout.trustedProxies { block.line("\(proxy) 1;") }
        }
        http.block("map $orchestry_trusted:$http_x_forwarded_for $orchestry_forwarded_for") {
            // What stands before the real client in the header is the client's own claim.
            $0.line("\"~^1:.\" \"$remote_addr, $realip_remote_addr\";", "default $remote_addr;")
        }
        http.block("map $orchestry_trusted:$http_x_forwarded_proto $orchestry_scheme") {
            $0.line("1:https https;", "1:http http;", "default $scheme;")
        }
        http.block("map $orchestry_trusted:$http_x_forwarded_port $orchestry_port") {
            $0.line("\"~^1:(?<orchestry_given_port>[0-9]{1,5})$\" $orchestry_given_port;", "default $server_port;")
        }
    }

    func requestHeaders(_ text: inout ConfigText) {
        let isTrusting = !layout.trustedProxies.isEmpty
        text.line(
            "proxy_set_header Host $http_host;", "proxy_set_header X-Real-IP $remote_addr;",
            "proxy_set_header X-Forwarded-For \(isTrusting ? "$orchestry_forwarded_for" : "$remote_addr");",
            "proxy_set_header X-Forwarded-Proto \(isTrusting ? "$orchestry_scheme" : "$scheme");",
            "proxy_set_header X-Forwarded-Host $http_host;",
            "proxy_set_header X-Forwarded-Port \(isTrusting ? "$orchestry_port" : "$server_port");",
            "proxy_set_header X-Request-Id $orchestry_request_id;")
        for name in Self.dropped { text.line("proxy_set_header \(name) '';") }
    }

    func tls(_ http: inout ConfigText) {
        // Every client of the last ten years speaks one of these, all with forward secrecy. Tickets would need keys that
        // all nodes share and change.
        http.line(
            "ssl_protocols TLSv1.2 TLSv1.3;",
            "ssl_ciphers ECDHE+AESGCM:ECDHE+CHACHA20;", "ssl_prefer_server_ciphers off;",
            "ssl_session_cache shared:orchestry_tls:10m;", "ssl_session_timeout 1h;", "ssl_session_tickets off;")
    }
}
