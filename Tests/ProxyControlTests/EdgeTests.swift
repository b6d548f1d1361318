import Foundation
import OrchestryModel
import ProxyConfig
import ProxyControl
import Testing

/// Who gets in, who is asking, and what happens when instances or operators are not there.
@Suite(.serialized, .enabled(if: Installed.lua, "nginx with libnginx-mod-http-lua and lua-resty-core is needed"))
struct EdgeTests {
    private func ranges(_ texts: String...) -> [AddressRange] { texts.compactMap(AddressRange.init(rawValue:)) }

    @Test(arguments: [ProxySettings.Mode.lua, .plain])
    func `address lists go by the real client`(_ mode: ProxySettings.Mode) async throws {
        try await ProxyFixture.run(mode: mode, change: { $0.trustedProxies = ["127.0.2.0/24"] }) { proxy in
            let web = proxy.route("web", on: [0]) {
                $0.allow = ranges("127.0.1.0/24", "10.1.0.0/16")
                $0.deny = ranges("127.0.1.7", "10.1.9.0/24")
            }
            try await proxy.controller.apply(proxy.table(1, web))
            let rows: [(source: String, forwarded: String?, status: Int)] = [
                ("127.0.1.6", nil, 200), ("127.0.1.7", nil, 403), ("127.0.0.1", nil, 403),
                // Only a trusted proxy's word counts, and of it only what it added itself.
                ("127.0.0.1", "10.1.0.1", 403), ("127.0.2.1", "10.1.0.1", 200), ("127.0.2.1", "10.1.9.1", 403),
                ("127.0.2.1", "10.1.0.1, 10.2.0.1", 403), ("127.0.2.1", "10.2.0.1, 10.1.0.1", 200),
            ]
            for row in rows {
                let headers = row.forwarded.map { ["X-Forwarded-For": $0] } ?? [:]
                let reply = try await request(proxy.port, host: "web", headers: headers, source: row.source)
                #expect(reply.status == row.status, "\(row)")
                if mode == .lua && row.status == 403 { #expect(reply.body.hasPrefix("{\"status\":403,")) }
            }
            guard mode == .lua else { return }
            // They are this app's answers all the same, and reach no instance.
            let counts = try await proxy.counters { $0.requests == 8 }
            #expect(counts.statusClasses == [0, 3, 0, 5, 0])
            #expect(counts.instances[proxy.id("web", "a")]?.requests == 3)
        }
    }

    @Test func `a trusted proxy's word about the client reaches the app, what stands before it does not`() async throws
    {
        try await ProxyFixture.run(change: { $0.trustedProxies = ["127.0.2.0/24"] }) { proxy in
            try await proxy.controller.apply(proxy.table(1, proxy.route("web", on: [0])))
            let given = [
                "X-Forwarded-For": "6.6.6.6, 10.1.0.1", "X-Forwarded-Proto": "https", "X-Forwarded-Port": "443",
            ]
            let seen = try await request(
                proxy.port, host: "web", "/echo", headers: given, source: "127.0.2.1"
            ).body.lowercased()
            for header in [
                "x-real-ip: 10.1.0.1", "x-forwarded-for: 10.1.0.1, 127.0.2.1", "x-forwarded-proto: https",
                "x-forwarded-port: 443",
            ] { #expect(seen.contains("\n\(header)\r\n"), "\(header) in \(seen)") }
            #expect(!seen.contains("6.6.6.6"))
        }
    }

    @Test func `maintenance comes and goes without a reload, and what runs goes on`() async throws {
        try await ProxyFixture.run { proxy in
            try await proxy.controller.apply(proxy.table(1, proxy.route("web", on: [0])))
            async let slow = proxy.get("web", "/sleep/1")
            _ = try await proxy.counters { $0.inFlight == 1 }
            let paused = proxy.route("web", on: [0]) {
                $0.maintenance = .init(retryAfterSeconds: 120, message: "Back <soon> at \"ten\"")
            }
            #expect(try await !proxy.controller.apply(proxy.table(2, paused)).reloaded)
            let reply = try await proxy.get("web")
            #expect(reply.status == 503)
            #expect(reply.headers["retry-after"] == "120")
            #expect(reply.body == "{\"status\":503,\"title\":\"Back <soon> at \\\"ten\\\"\"}\n")
            let page = try await request(proxy.port, host: "web", headers: ["Accept": "text/html,*/*"])
            #expect(page.status == 503)
            #expect(page.headers["content-type"] == "text/html; charset=utf-8")
            #expect(page.body.contains("<p>Back &lt;soon&gt; at \"ten\"</p>"))
            #expect(try await slow.status == 200)
            #expect(try await !proxy.controller.apply(proxy.table(3, proxy.route("web", on: [0]))).reloaded)
            #expect(try await proxy.get("web").status == 200)
        }
        try await ProxyFixture.run(mode: .plain) { proxy in
            let paused = proxy.route("web", on: [0]) { $0.maintenance = .init(retryAfterSeconds: 120) }
            try await proxy.controller.apply(proxy.table(1, paused))
            let reply = try await proxy.get("web")
            #expect(reply.status == 503)
            #expect(reply.headers["retry-after"] == "120")
            #expect(reply.body == "{\"status\":503,\"title\":\"The app is being worked on\"}\n")
        }
    }

    @Test func `a body that is too large is refused in words`() async throws {
        try await ProxyFixture.run { proxy in
            try await proxy.controller.apply(proxy.table(1, proxy.route("web", on: [0]) { $0.maxBodyBytes = 10 }))
            let fits = try await request(proxy.port, host: "web", "/echo", method: "POST", body: "0123456789")
            #expect(fits.status == 200)
            let large = try await request(proxy.port, host: "web", "/echo", method: "POST", body: "0123456789a")
            #expect(large.status == 413)
            #expect(large.body.hasPrefix("{\"status\":413,"))
        }
    }

    @Test func `an instance that hangs up costs safe requests nothing, and is left alone for a bounded time`()
        async throws
    {
        try await ProxyFixture.run(change: { $0.workerProcesses = 1 }) { proxy in
            // A accepts and closes without an answer; B answers.
            let bad = try Backend(count: 1, withLua: "location = /work { return 444; }")
            let good = try Backend(count: 1, withLua: "location = /work { return 200 \"ok\"; }")
            let table = proxy.table(1, proxy.route("web", at: [("bad", bad.ports[0]), ("good", good.ports[0])]))
            try await proxy.controller.apply(table)
            for method in ["GET", "PUT", "DELETE", "GET", "GET", "GET"] {
                #expect(try await request(proxy.port, host: "web", "/work", method: method).status == 200)
            }
            let during = try await proxy.counters { $0.requests == 6 && $0.inFlight == 0 }
            let attempts = try #require(during.instances[proxy.id("web", "bad")])
            #expect((1...4).contains(attempts.requests) && attempts.errors == attempts.requests, "\(attempts)")
            // Both fail: neither is left out for good, the app is asked again each time.
            try await proxy.controller.apply(
                proxy.table(2, proxy.route("web", at: [("bad", bad.ports[0]), ("worse", bad.ports[0])])))
            for _ in 0..<3 { #expect(try await request(proxy.port, host: "web", "/work").status == 502) }
            let worse = try await proxy.counters().instances[proxy.id("web", "worse")]
            #expect(worse?.requests == 3, "never all of them are left alone")
            // What works again is taken back within the eight seconds that are the longest.
            try await proxy.controller.apply(proxy.table(3, proxy.route("web", at: [("bad", good.ports[0])])))
            #expect(try await request(proxy.port, host: "web", "/work").status == 200)
        }
    }

    @Test func `a websocket outlives membership changes and reloads`() async throws {
        try await ProxyFixture.run { proxy in
            try await proxy.controller.apply(proxy.table(1, proxy.route("web", on: [0])))
            let socket = try Connection(port: proxy.port)
            try socket.send(
                "GET /websocket HTTP/1.1\r\nHost: web\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n")
            #expect(try socket.receive { $0.contains("\r\n\r\n") }.hasPrefix("HTTP/1.1 101 "))
            func echo(_ word: String) throws {
                try socket.send("\(word)\n")
                #expect(try socket.receive { $0.hasSuffix("\n") } == "echo \(word)\n")
            }
            // Its instance leaves the table, others come and go, and the structure changes three times.
            #expect(try await !proxy.controller.apply(proxy.table(2, proxy.route("web", on: [1]))).reloaded)
            try echo("membership")
            for round in 0..<3 {
                let result = try await proxy.controller.apply(
                    proxy.table(
                        UInt64(3 + round), proxy.route("web", on: [1]), proxy.route("other\(round)", on: [1])))
                #expect(result.reloaded)
                try echo("reload \(round)")
                #expect(try await proxy.get("web").body == "B\n")
            }
            // Whoever drains the instance still sees it.
            #expect(try await proxy.counters().instances[proxy.id("web", "a")]?.inFlight == 1)
        }
    }
}
