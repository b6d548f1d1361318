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
            "the proxy's own port", [route("web", port: 80)], ["- web: /=web"], ["web: port 80 can't be an app's own"]),
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
        let structure = ProxyStructure(RoutingTable(version: .zero, routes: row.routes), listenPort: 80)
        let servers = structure.servers.map { server in
            let locations = server.locations.map { "\($0.prefix)=\($0.app)" }.joined(separator: " ")
            return "\(server.port.map(String.init) ?? "-") \(server.hosts.joined(separator: ",")): \(locations)"
        }
        #expect(servers == row.servers)
        #expect(structure.problems.map(\.description) == row.problems)
    }

    @Test(arguments: [
        "", "web", "/a b", "/a;b", "/a{", "/a\"", "/$host", "/a//b", "/../x", "/./x", "/a\nb", "/%41", "//",
    ])
    func `a path nginx could not match is refused`(_ prefix: String) {
        let structure = ProxyStructure(table(route("bad", prefix: prefix), route("good")), listenPort: 80)
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
