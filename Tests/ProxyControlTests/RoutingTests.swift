import Foundation
import OrchestryModel
import ProxyConfig
import ProxyControl
import TestSupport
import Testing

@Suite(.serialized, .enabled(if: Installed.lua, "nginx with libnginx-mod-http-lua and lua-resty-core is needed"))
struct RoutingTests {
    @Test(arguments: [ProxySettings.Mode.lua, .plain])
    func `hosts, paths and ports lead to their apps`(_ mode: ProxySettings.Mode) async throws {
        let own = try PortHolder.free(1)[0]
        try await ProxyFixture.run(mode: mode) { proxy in
            var shop = proxy.route("shop", on: [1])
            shop.routing.hosts = ["web"]
            shop.routing.pathPrefix = "/shop"
            shop.routing.listenPort = own
            let result = try await proxy.controller.apply(
                proxy.table(1, proxy.route("web", on: [0]), shop, proxy.route("none", on: [])))
            #expect(result.reloaded)
            #expect(result.problems == [])
            for (path, body) in [("/", "A\n"), ("/shopping", "A\n"), ("/shop", "B\n"), ("/shop/x?y=1", "B\n")] {
                let reply = try await proxy.get("web", path)
                #expect(reply.status == 200)
                #expect(reply.body == body, "\(path)")
            }
            #expect(try await request(own, host: "anything", "/shop/").body == "B\n")
            #expect(try await request(own, host: "web", "/").status == 404)
            let unknown = try await proxy.get("unknown.example.org")
            #expect(unknown.status == 404)
            #expect(unknown.body == "{\"status\":404,\"title\":\"No app is served here\"}\n")
            #expect(unknown.headers["content-type"] == "application/problem+json")
            let empty = try await proxy.get("none")
            #expect(empty.status == 503)
            #expect(empty.headers["retry-after"] == "1")
            #expect(empty.body.hasPrefix("{\"status\":503,"))
        }
    }

    @Test func `an app sees who asked and how`() async throws {
        try await ProxyFixture.run { proxy in
            try await proxy.controller.apply(proxy.table(1, proxy.route("web", on: [0])))
            let reply = try await request(
                proxy.port, host: "web", "/echo", method: "POST",
                headers: [
                    "X-Forwarded-For": "9.9.9.9", "X-Forwarded-Proto": "https", "Forwarded": "for=9.9.9.9",
                    "X-Original-URL": "/admin", "Proxy": "http://evil", "Upgrade": "h2c", "X-Request-Id": "bad id!",
                ], body: "hello",
                source: "127.0.0.5")
            let seen = reply.body.lowercased()
            #expect(seen.hasSuffix("hello"))
            for header in [
                "x-real-ip: 127.0.0.5", "x-forwarded-for: 127.0.0.5", "x-forwarded-proto: http",
                "x-forwarded-host: web", "x-forwarded-port: \(proxy.port)", "host: web",
                "x-request-id: \(reply.headers["x-request-id"] ?? "missing")",
            ] { #expect(seen.contains("\n\(header)\r\n"), "\(header) in \(seen)") }
            for header in ["upgrade:", "\nforwarded:", "x-original-url:", "\nproxy:", "9.9.9.9"] {
                #expect(!seen.contains(header), "\(header) in \(seen)")
            }
            #expect(reply.headers["x-request-id"]?.count == 32)
            let named = try await request(proxy.port, host: "web", headers: ["X-Request-Id": "abc-1"])
            #expect(named.headers["x-request-id"] == "abc-1")
        }
    }

    @Test func `a websocket passes and shows as in flight`() async throws {
        try await ProxyFixture.run { proxy in
            try await proxy.controller.apply(proxy.table(1, proxy.route("web", on: [0])))
            do {
                let connection = try Connection(port: proxy.port)
                try connection.send(
                    "GET /websocket HTTP/1.1\r\nHost: web\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n")
                #expect(try connection.receive { $0.contains("\r\n\r\n") }.hasPrefix("HTTP/1.1 101 "))
                for word in ["one", "two"] {
                    try connection.send("\(word)\n")
                    #expect(try connection.receive { $0.hasSuffix("\n") } == "echo \(word)\n")
                }
                let open = try await proxy.counters()
                #expect(open.inFlight == 1)
                #expect(open.instances[proxy.id("web", "a")]?.inFlight == 1)
            }
            let closed = try await proxy.counters { $0.inFlight == 0 }
            #expect(closed.statusClasses == [1, 0, 0, 0, 0])
            #expect(closed.latency.isEmpty)
            #expect(closed.requestMicroseconds == 0)
        }
    }

    @Test func `endpoints change without a reload, and at once`() async throws {
        try await ProxyFixture.run { proxy in
            try await proxy.controller.apply(proxy.table(1, proxy.route("web", on: [0])))
            #expect(await eventually { proxy.workers.count == 2 }, "the ones before the first table leave")
            let workers = proxy.workers
            for round in 0..<20 {
                let backend = (round + 1) % 2
                let result = try await proxy.controller.apply(
                    proxy.table(UInt64(round + 2), proxy.route("web", on: [backend])))
                #expect(!result.reloaded)
                // Several connections, so that both workers are asked.
                for _ in 0..<5 { #expect(try await proxy.get("web").body == Backend.letters[backend] + "\n") }
            }
            let both = proxy.table(50, proxy.route("web", on: [0, 1]))
            try await proxy.controller.apply(both, excluding: [proxy.id("web", "a")])
            for _ in 0..<6 { #expect(try await proxy.get("web").body == "B\n") }
            try await proxy.controller.apply(proxy.table(51, proxy.route("web", on: [])))
            #expect(try await proxy.get("web").status == 503)
            #expect(proxy.workers == workers)
            #expect(
                try await proxy.controller.readMembership() == "orchestry-membership 1 1.51\napp web least_conn\nend\n")
        }
    }

    @Test func `a removed endpoint gets nothing once apply has returned`() async throws {
        try await ProxyFixture.run { proxy in
            try await proxy.controller.apply(proxy.table(1, proxy.route("web", on: [0, 1])))
            try await withThrowingTaskGroup(of: Void.self) { group in
                for _ in 0..<4 {
                    group.addTask {
                        for _ in 0..<60 {
                            let status = try await proxy.get("web").status
                            #expect(status == 200)
                        }
                    }
                }
                group.addTask {
                    for round in 0..<10 {
                        try await proxy.controller.apply(
                            proxy.table(UInt64(2 * round + 2), proxy.route("web", on: [0])))
                        // What was chosen before may still be on its way; then the counter must stand still.
                        let left = try await proxy.counters {
                            $0.instances[proxy.id("web", "b")]?.inFlight == 0
                        }.instances[proxy.id("web", "b")]
                        for _ in 0..<5 { _ = try await proxy.get("web") }
                        let later = try await proxy.counters().instances[proxy.id("web", "b")]
                        #expect(later == left)
                        try await proxy.controller.apply(
                            proxy.table(UInt64(2 * round + 3), proxy.route("web", on: [0, 1])))
                    }
                }
                try await group.waitForAll()
            }
        }
    }

    @Test func `the method says who is chosen`() async throws {
        try await ProxyFixture.run(backends: 3) { proxy in
            // Least connections: A is busy, so B gets all.
            try await proxy.controller.apply(proxy.table(1, proxy.route("web", on: [0])))
            async let slow = proxy.get("web", "/sleep/1.5")
            _ = try await proxy.counters { $0.inFlight == 1 }
            try await proxy.controller.apply(proxy.table(2, proxy.route("web", on: [0, 1])))
            for _ in 0..<10 { #expect(try await proxy.get("web").body == "B\n") }
            #expect(try await slow.body == "A\n")
            // Idle ones take turns.
            var idle: [String: Int] = [:]
            for _ in 0..<30 { idle[try await proxy.get("web").body, default: 0] += 1 }
            #expect((idle["A\n"] ?? 0) >= 10 && (idle["B\n"] ?? 0) >= 10, "\(idle)")

            // By address: a client keeps its instance; a new instance takes over some clients and moves no other.
            let sources = (1...40).map { "127.0.1.\($0)" }
            func map(_ number: UInt64, _ backends: [Int]) async throws -> [String: String] {
                try await proxy.controller.apply(
                    proxy.table(number, proxy.route("web", on: backends, method: .ipHash)))
                var result: [String: String] = [:]
                for source in sources {
                    let body = try await proxy.get("web", source: source).body
                    #expect(try await proxy.get("web", source: source).body == body)
                    result[source] = body
                }
                return result
            }
            let two = try await map(3, [0, 1])
            let three = try await map(4, [0, 1, 2])
            for body in ["A\n", "B\n"] { #expect(two.values.filter { $0 == body }.count >= 8, "\(two)") }
            let moved = sources.filter { two[$0] != three[$0] }
            #expect((4...28).contains(moved.count))
            #expect(moved.allSatisfy { three[$0] == "C\n" })

            // At random: everyone gets some.
            try await proxy.controller.apply(proxy.table(5, proxy.route("web", on: [0, 1, 2], method: .random)))
            var random: [String: Int] = [:]
            for _ in 0..<90 { random[try await proxy.get("web").body, default: 0] += 1 }
            #expect(random.count == 3 && random.values.allSatisfy { $0 >= 10 }, "\(random)")
        }
    }

    @Test func `weights share the traffic`() async throws {
        try await ProxyFixture.run { proxy in
            var table = proxy.table(1, proxy.route("web", on: [0, 1]))
            table.routes[0].targets[0].weight = 3
            try await proxy.controller.apply(table)
            for _ in 0..<80 { _ = try await proxy.get("web") }
            let counts = try await proxy.counters { $0.requests == 80 && $0.inFlight == 0 }.instances
            let heavy = counts[proxy.id("web", "a")]?.requests ?? 0
            // Exactly 60, give or take a turn of each worker.
            #expect((58...62).contains(heavy), "\(counts)")
            // While weights differ, each instance's times are counted too; afterwards nobody asks.
            #expect(counts.values.map { $0.latency?.count } == counts.values.map { $0.requests }, "\(counts)")
            #expect(counts.values.allSatisfy { $0.latency?.buckets.allSatisfy { $0.index % 16 == 8 } == true })
            table.version.number += 1
            table.routes[0].targets[0].weight = 1
            try await proxy.controller.apply(table)
            let even = try await proxy.counters { $0.requests == 80 }.instances
            #expect(even.count == 2 && even.values.allSatisfy { $0.latency == nil }, "\(even)")
        }
    }

    @Test func `a light weight gets its share under load too, not what its idleness would draw`() async throws {
        try await ProxyFixture.run { proxy in
            var table = proxy.table(1, proxy.route("web", on: [0, 1]))
            table.routes[0].targets[0].weight = 9
            try await proxy.controller.apply(table)
            // Twenty at once: by fewest in flight alone both would get half.
            for _ in 0..<10 {
                try await withThrowingTaskGroup(of: Void.self) { group in
                    for _ in 0..<20 { group.addTask { _ = try await proxy.get("web", "/sleep/0.05") } }
                    try await group.waitForAll()
                }
            }
            let counts = try await proxy.counters { $0.requests == 200 && $0.inFlight == 0 }.instances
            let light = counts[proxy.id("web", "b")]?.requests ?? 0
            #expect((16...24).contains(light), "\(counts)")
        }
    }
}
