import Foundation
import OrchestryModel
import ProxyConfig
import Testing

/// Whole configurations, compared byte by byte. `UPDATE_GOLDEN=1` rewrites them; the tests of the proxy's control run
/// `nginx -t` on each.
struct GoldenTests {
    struct Row: Sendable, CustomTestStringConvertible {
        var name: String
        var layout: ProxyLayout
        var table: RoutingTable
        var testDescription: String { name }
    }

    static let lua = ProxyLayout(
        folder: "/srv/orchestry/proxy", listenPort: 18080, mode: .lua,
        modulePaths: [
            "/usr/lib/nginx/modules/ndk_http_module.so", "/usr/lib/nginx/modules/ngx_http_lua_module.so",
        ], luaPackagePath: "/usr/share/lua/5.1/?.lua", workerProcesses: 2)
    static let plain = ProxyLayout(folder: "/srv/orchestry/proxy", listenPort: 18080, mode: .plain)

    static let apps = table(
        route(
            "web", hosts: ["web", "www.example.org"], targets: [target("web-1-aaaaaa", weight: 3), target("web-1-b")]),
        route(
            "shop", hosts: ["www.example.org"], prefix: "/shop/", method: .ipHash, targets: [target("s-1", "fd00::7")]),
        route("chat", hosts: ["chat", "*.chat.example.org"], method: .random, port: 18081, maxBodyBytes: 0),
        route("api", hosts: ["api"], prefix: "/v1", readTimeoutSeconds: 300, targets: [target("api-1")]))

    static var everything: ProxyLayout {
        var layout = lua
        layout.listenHost = "::"
        layout.accessLog = "/srv/orchestry/proxy/access.json"
        layout.trustedProxies = ["10.0.0.0/8", "fd00::/8"]
        layout.errorLogLevel = .crit
        layout.notFoundTitle = "It's \"not\" here"
        return layout
    }

    static func edge(_ layout: ProxyLayout) -> ProxyLayout {
        var layout = layout
        layout.httpsPort = 18443
        layout.trustedProxies = ["10.0.0.0/8"]
        layout.api = .init(host: "orchestry.local", port: 18001, ownHost: "127.0.0.1", ownPort: 18000)
        return layout
    }

    static var guarded: RoutingTable {
        func secured(_ name: String, port: Int? = nil) -> RoutingTable.Route {
            var route = route(name, port: port, targets: [target("\(name)-1"), target("\(name)-2", "10.0.0.2")])
            route.routing.tls = .init(
                certificateSecret: SecretName(unchecked: "crt"), keySecret: SecretName(unchecked: "key"))
            return route
        }
        var closed = route("closed", targets: [target("c-1")])
        closed.routing.deny = ["10.9.0.0/16", "fd00::1"].compactMap(AddressRange.init(rawValue:))
        closed.routing.allow = ["10.0.0.0/8"].compactMap(AddressRange.init(rawValue:))
        var paused = route("paused", targets: [target("p-1")])
        paused.routing.maintenance = .init(retryAfterSeconds: 300, message: "Back \"soon\"")
        return table(closed, paused, secured("shop", port: 18444), secured("without"))
    }

    static var sleeping: RoutingTable {
        var idle = route("blog")
        idle.activation = .init(holdSeconds: 30, holdLimit: 1000)
        return table(idle, route("web", targets: [target("web-1-a")]))
    }

    static let rows = [
        Row(name: "lua-empty", layout: lua, table: .empty),
        Row(name: "lua-apps", layout: lua, table: apps),
        Row(name: "lua-all-settings", layout: everything, table: table(route("web", port: 18081))),
        Row(name: "plain-apps", layout: plain, table: apps),
        Row(name: "lua-edge", layout: edge(lua), table: guarded),
        Row(name: "lua-activation", layout: lua, table: sleeping),
        Row(name: "plain-activation", layout: plain, table: sleeping),
        Row(name: "plain-edge", layout: edge(plain), table: guarded),
    ]

    @Test(arguments: rows)
    func `a configuration is what it was`(_ row: Row) throws {
        let structure = ProxyStructure(
            row.table, reserved: row.layout.reserved, certificates: [app("shop"): "0123456789abcdef"])
        let config = ConfigRenderer(layout: row.layout).render(structure)
        #expect(config.text.contains("return 200 \"\(config.generation)\\n\";"))
        // Neither changes with the look of the configuration: the code has tests of its own.
        let text = masked(config)
        let file = URL(fileURLWithPath: #filePath).deletingLastPathComponent()
            .appendingPathComponent("Golden/\(row.name).conf")
        if ProcessInfo.processInfo.environment["UPDATE_GOLDEN"] == "1" {
            try Data(text.utf8).write(to: file)
        }
        let golden = try String(contentsOf: file, encoding: .utf8)
        #expect(text == golden, "\(row.name) differs; UPDATE_GOLDEN=1 rewrites it")
    }

    private func masked(_ config: RenderedConfig) -> String {
        config.text.split(separator: "\n", omittingEmptySubsequences: false).map { line in
            line.contains("# Lua code ") ? "    # Lua code VERSION" : String(line)
        }.joined(separator: "\n").split(separator: config.generation, omittingEmptySubsequences: false)
            .joined(separator: "GENERATION")
    }

    @Test func `in lua mode endpoints are not part of it`() {
        var other = Self.apps
        for index in other.routes.indices {
            other.routes[index].targets = [target("other-1", "10.9.9.9", 99)]
            other.routes[index].routing.method = .random
        }
        let renderer = ConfigRenderer(layout: Self.lua)
        #expect(
            renderer.render(ProxyStructure(Self.apps, reserved: Self.lua.reserved))
                == renderer.render(ProxyStructure(other, reserved: Self.lua.reserved)))
        let plain = ConfigRenderer(layout: Self.plain)
        #expect(
            plain.render(ProxyStructure(Self.apps, reserved: Self.lua.reserved)).generation
                != plain.render(ProxyStructure(other, reserved: Self.lua.reserved)).generation)
    }

    @Test func `the order of routes and hosts does not show`() {
        var other = Self.apps
        other.routes.reverse()
        for index in other.routes.indices { other.routes[index].routing.hosts.reverse() }
        let renderer = ConfigRenderer(layout: Self.lua)
        #expect(
            renderer.render(ProxyStructure(Self.apps, reserved: Self.lua.reserved))
                == renderer.render(ProxyStructure(other, reserved: Self.lua.reserved)))
    }
}
