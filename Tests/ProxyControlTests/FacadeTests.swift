import Foundation
import OrchestryModel
import ProxyConfig
import ProxyControl
import TestSupport
import Testing

/// The REST facades of the cluster behind one address: three stand-ins that say who they are and what they got.
@Suite(.serialized, .enabled(if: Installed.lua, "nginx with libnginx-mod-http-lua and lua-resty-core is needed"))
struct FacadeTests {
    private static let nodes = """
        location = /who { content_by_lua_block {
          ngx.header["X-Key"] = ngx.var.http_idempotency_key or "none"; ngx.print(ngx.var.server_port) } }
        location = /leaderless { return 503 "no leader\\n"; }
        location = /dies { content_by_lua_block {
          if ngx.var.server_port == ngx.var.arg_leader then ngx.exit(444) end
          ngx.header["X-Key"] = ngx.var.http_idempotency_key; ngx.print(ngx.var.server_port) } }
        location = /stream { content_by_lua_block {
          ngx.header["Content-Type"] = "text/event-stream"
          ngx.print("data: 1\\n\\n"); ngx.flush(true); ngx.sleep(5); ngx.print("data: 2\\n\\n") } }
        """

    private func list(_ ports: [Int], leader: Int?) -> FacadeList {
        FacadeList(
            facades: ports.enumerated().map { index, port in
                .init(node: NodeID(unchecked: "n-\(index)"), endpoint: Endpoint(host: "127.0.0.1", port: port))
            }, leader: leader.map { NodeID(unchecked: "n-\($0)") })
    }

    private func run(
        mode: ProxySettings.Mode = .lua, _ body: (ProxyFixture, _ nodes: [Int], _ own: Int) async throws -> Void
    ) async throws {
        let facades = try Backend(count: 3, withLua: Self.nodes)
        let own = try PortHolder.free(1)[0]
        try await ProxyFixture.run(
            mode: mode,
            change: {
                $0.workerProcesses = 1
                $0.api = .init(
                    host: "orchestry.local", port: own, ownHost: "127.0.0.1", ownPort: facades.ports[0],
                    maxBodyBytes: 1000)
            }, { try await body($0, facades.ports, own) })
    }

    @Test func `writes go to the leader, reads to this node, and a change of leader is no reload`() async throws {
        try await run { proxy, nodes, own in
            func ask(_ method: String) async throws -> String {
                try await request(proxy.port, host: "orchestry.local", "/who", method: method).body
            }
            // Before anybody was announced, all goes to the node's own facade.
            #expect(try await ask("POST") == "\(nodes[0])")
            let workers = proxy.workers
            for leader in [2, 1, 0, 2] {
                await proxy.controller.announce(list(nodes, leader: leader))
                for method in ["POST", "PUT", "DELETE"] { #expect(try await ask(method) == "\(nodes[leader])") }
                #expect(try await ask("GET") == "\(nodes[0])")
            }
            #expect(proxy.workers == workers)
            #expect(try await request(own, host: "whatever", "/who", method: "POST").body == "\(nodes[2])")
            // A key of the proxy's own makes a write safe to repeat; a client's key stays as it is.
            let first = try await request(own, host: "x", "/who", method: "POST").headers["x-key"]
            #expect(first?.hasPrefix("proxy-") == true && first?.count == 38, "\(first ?? "nil")")
            let given = try await request(own, host: "x", "/who", method: "POST", headers: ["Idempotency-Key": "mine"])
            #expect(given.headers["x-key"] == "mine")
            // No app takes the name or the port.
            let taken = try await proxy.controller.apply(
                proxy.table(
                    1,
                    proxy.route("web", on: [0]) {
                        $0.hosts = ["orchestry.local", "web"]
                        $0.listenPort = own
                    }))
            #expect(taken.problems.count == 2)
            #expect(try await ask("POST") == "\(nodes[2])")
            // The list outlives nginx.
            kill(proxy.master, SIGKILL)
            #expect(await eventually { (try? await ask("POST")) == "\(nodes[2])" })
        }
    }

    @Test func `a write survives a leader that is gone, and one that dies with it`() async throws {
        try await run { proxy, nodes, own in
            let dead = try PortHolder.free(1)[0]
            await proxy.controller.announce(list([nodes[0], dead, nodes[2]], leader: 1))
            for _ in 0..<3 { #expect(try await request(own, host: "x", "/who", method: "POST").body == "\(nodes[0])") }
            // It took the request and died: sent again under the same key.
            await proxy.controller.announce(list(nodes, leader: 1))
            let other = try await request(
                own, host: "x", "/dies?leader=\(nodes[1])", method: "POST", headers: ["Idempotency-Key": "k"], body: "x"
            )
            #expect(other.body == "\(nodes[0])")
            #expect(other.headers["x-key"] == "k")
            // Nobody answers at all.
            let reply = try await request(own, host: "x", "/hangup", method: "POST", body: "x")
            #expect(reply.status == 503)
            #expect(reply.headers["retry-after"] == "1")
            #expect(reply.body == "{\"status\":503,\"title\":\"No node of the cluster answers\"}\n")
            // Nobody knows a leader: all were asked, and the last one's answer is passed on.
            let leaderless = try await request(own, host: "x", "/leaderless", method: "POST", body: "x")
            #expect(leaderless.status == 503)
            #expect(leaderless.body == "no leader\n")
            let large = String(repeating: "x", count: 1001)
            #expect(try await request(own, host: "x", "/who", method: "POST", body: large).status == 413)
        }
    }

    @Test(arguments: [ProxySettings.Mode.lua, .plain])
    func `events are passed on as they come`(_ mode: ProxySettings.Mode) async throws {
        try await run(mode: mode) { _, _, own in
            let connection = try Connection(port: own, seconds: 4)
            try connection.send("GET /stream HTTP/1.1\r\nHost: x\r\n\r\n")
            // The second event comes later than this connection waits.
            #expect(try connection.receive { $0.contains("data: 1") }.contains("text/event-stream"))
        }
    }
}
