import OrchestryModel
import ProxyConfig
import Testing

struct ProxyStructureTests {
    struct Row: Sendable, CustomTestStringConvertible {
        var name: String
        var routes: [RoutingTable.Route]
        /// `app port host,host prefix`
        var servers: [String]
        var problems: [String]
        var testDescription: String { name }
        init(_ name: String, _ routes: [RoutingTable.Route], _ servers: [String], _ problems: [String] = []) {
            self.name = name
            self.routes = routes
            self.servers = servers
            self.problems = problems
        }
    }

    static let rows = [
        Row("one app", [route("web")], ["- web: /=web"]),
        Row("hosts that lead to the same share a server", [route("web", hosts: ["b", "a"])], ["- a,b: /=web"]),
        Row(
            "paths of one host", [route("web"), route("shop", hosts: ["web"], prefix: "/shop/")],
            ["- web: /=web /shop=shop"]),
        Row("a port of its own", [route("web", port: 9000)], ["- web: /=web", "9000 : /=web"]),
        Row(
            "the first by name wins a host", [route("b", hosts: ["x"]), route("a", hosts: ["x"])], ["- x: /=a"],
            ["b: host 'x' with path '/' already leads to a"]),
        Row(
            "the proxy's own port", [route("web", port: 80)], ["- web: /=web"], ["web: port 80 is the proxy's own port"]
        ),
        Row(
            "a port claimed twice", [route("a", port: 9000), route("b", port: 9000)],
            ["- a: /=a", "- b: /=b", "9000 : /=a"], ["b: port 9000 is already a's own"]),
        Row(
            "a host that would end the directive", [route("web", hosts: ["ok", "x; return 200"])], ["- ok: /=web"],
            ["web: host 'x; return 200' is not a host name"]),
        Row("no host", [route("web", hosts: [])], []),
        Row("wildcards", [route("web", hosts: ["*.example.org"])], ["- *.example.org: /=web"]),
    ]

    @Test(arguments: rows)
    func `routes become servers`(_ row: Row) {
        let structure = ProxyStructure(
            RoutingTable(version: .zero, routes: row.routes), reserved: .init(ports: [80: "the proxy's own port"]))
        let servers = structure.servers.map { server in
            let locations = server.locations.map { "\($0.prefix)=\($0.app)" }.joined(separator: " ")
            return "\(server.port.map(String.init) ?? "-") \(server.hosts.joined(separator: ",")): \(locations)"
        }
        #expect(servers == row.servers)
        #expect(structure.problems.map(\.description) == row.problems)
    }

    private func secured(_ name: String, hosts: [String]? = nil, prefix: String = "/", port: Int? = nil)
        -> RoutingTable.Route
    {
        var route = route(name, hosts: hosts, prefix: prefix, port: port)
        route.routing.tls = .init(
            certificateSecret: SecretName(unchecked: "crt"), keySecret: SecretName(unchecked: "key"))
        return route
    }

    @Test func `a server shows the certificate of its first app that has one`() {
        let routes = table(
            secured("a"), secured("b", hosts: ["x"], prefix: "/b"), secured("c", hosts: ["x"], prefix: "/c"),
            route("d", hosts: ["x"]), secured("e", port: 9000), secured("f", hosts: ["api.local", "f"], port: 9001),
            secured("g", port: 8443), route("h"))
        let certificates = [app("a"): "1", app("b"): "2", app("c"): "3", app("f"): "4", app("g"): "5", app("h"): "6"]
        let reserved = ProxyStructure.Reserved(
            ports: [8443: "the proxy's TLS port"], host: "api.local", httpsPort: 8443)
        let structure = ProxyStructure(routes, reserved: reserved, certificates: certificates)
        let servers = structure.servers.map { server in
            "\(server.port.map(String.init) ?? "-") \(server.hosts.joined(separator: ",")) "
                + (server.certificate.map { "\($0.app)=\($0.fingerprint)" } ?? "-")
        }
        // An own port without its certificate is not opened: nobody may speak plain HTTP to it.
        #expect(servers == ["- a a=1", "- e -", "- f f=4", "- g g=5", "- h -", "- x b=2", "9001  f=4"])
        #expect(
            structure.problems.map(\.description) == [
                "f: host 'api.local' leads to the REST facade", "g: port 8443 is the proxy's TLS port",
                "c: x is served with the certificate of b",
            ])
        let without = ProxyStructure(routes, reserved: .init(), certificates: certificates)
        #expect(without.servers.filter { $0.certificate != nil }.map(\.port) == [8443, 9001])
        #expect(
            without.problems.filter { $0.message.contains("proxy.https_port") }.map(\.app.rawValue) == ["a", "b", "c"])
    }

    @Test func `facades are listed in order, maintenance takes the place of the method`() {
        let list = FacadeList(
            facades: [
                .init(node: NodeID(unchecked: "n-1"), endpoint: Endpoint(host: "127.0.0.1", port: 8000)),
                .init(node: NodeID(unchecked: "n-2"), endpoint: Endpoint(host: "fd00::2", port: 8000)),
                .init(node: NodeID(unchecked: "n-3"), endpoint: Endpoint(host: "n3.example", port: 8000)),
            ], leader: NodeID(unchecked: "n-2"))
        #expect(
            list.render() == "orchestry-facades 1\nnode n-1 127.0.0.1 8000\nleader n-2 [fd00::2] 8000\nend\n")
        var paused = route("web", method: .ipHash)
        paused.routing.maintenance = .init(retryAfterSeconds: 5, message: "At 10:00, ü")
        #expect(
            MembershipText.render([paused], version: .zero)
                == "orchestry-membership 1 0.0\napp web maintenance:5:At%2010%3a00%2c%20%c3%bc\nend\n")
    }

    @Test(arguments: [
        "", "web", "/a b", "/a;b", "/a{", "/a\"", "/$host", "/a//b", "/../x", "/./x", "/a\nb", "/%41", "//",
    ])
    func `a path nginx could not match is refused`(_ prefix: String) {
        let structure = ProxyStructure(table(route("bad", prefix: prefix), route("good")), reserved: .init())
        #expect(structure.problems.map(\.app) == [app("bad")])
        #expect(structure.routes.map(\.app) == [app("good")])
    }

    @Test func `membership leaves out what is excluded or no address`() {
        let all = table(
            route(
                "web", method: .random,
                targets: [
                    target("web-1", "10.0.0.1", 80, weight: 500), target("web-2"), target("web-3", "evil host"),
                    target("web-4", "10.0.0.4", 0), target("web-5", "fd00::1", 81), target("web-1", "10.0.0.9"),
                ]), route("empty"))
        let serving = all.serving(excluding: [instance("web-2")])
        #expect(
            MembershipText.render(serving.routes, version: serving.version) == """
                orchestry-membership 1 3.1
                app web random
                web-1 10.0.0.1 80 100
                web-5 [fd00::1] 81 1
                app empty least_conn
                end

                """)
    }

    @Test func `capacity only grows`() {
        let small = ProxyCapacity()
        #expect(small.fitting(.empty) == small)
        let targets = (0..<1500).map { target("web-1-\($0)") }
        let grown = small.fitting(table(route("web", targets: targets)))
        #expect(grown == ProxyCapacity(apps: 256, instances: 8192))
        #expect(grown.fitting(.empty) == grown)
    }
}
