import Foundation
import Measuring
import NIOCore
import NIOPosix
import OrchestryModel
import ProxyConfig

/// nginx in several variants, in front of one that answers with a constant.
final class ProxyRig: Sendable {
    enum Variant: String, CaseIterable, Sendable {
        /// As generated: Lua balancer, every request counted.
        case counting
        /// Two addresses in turn by Lua, no log handler.
        case balancing
        /// As generated without Lua.
        case plain
        var words: String {
            switch self {
            case .counting: "ours: balancer and counting"
            case .balancing: "Lua balancer without counting"
            case .plain: "plain upstream, no Lua"
            }
        }
    }

    static let host = "bench.test"
    private static let app = AppName(unchecked: "bench")
    private let root: String
    private let backendPorts: [Int]
    private let ports: [Variant: Int]

    /// Starts all of them.
    /// - Throws: `SubprocessError` with nginx's words when one does not start; nothing is left running then.
    init(workers: Int) async throws {
        root = FileManager.default.temporaryDirectory.appending(path: "orchestry-bench-\(UUID().uuidString.prefix(8))")
            .path(percentEncoded: false)
        var free = try await freePorts(2 + Variant.allCases.count)
        backendPorts = [free.removeFirst(), free.removeFirst()]
        ports = Dictionary(uniqueKeysWithValues: zip(Variant.allCases, free))
        do {
            try prepare(folder("backend"))
            try write(backendText(workers), to: folder("backend") + "/nginx.conf")
            try await start("backend")
            for variant in Variant.allCases {
                try prepare(folder(variant.rawValue))
                try write(try render(variant, workers), variant)
                try await start(variant.rawValue)
            }
            try await checkAnswers()
        } catch {
            await stop()
            throw error
        }
    }

    func server(_ variant: Variant) -> Server { Server(host: "127.0.0.1", port: ports[variant] ?? 0) }

    /// Requests that the counting one has counted since it was started.
    func counted() async throws -> Double {
        Double(try await NginxFolder(path: folder("counting")).counters().apps[Self.app]?.requests ?? 0)
    }

    /// Of a variant's workers, since they were started.
    func processorSeconds(_ variant: Variant) throws -> Double {
        let master = try NginxFolder(path: folder(variant.rawValue)).master()
        return Processes.all().filter { $0.parent == master }.reduce(0) { $0 + $1.processorSeconds }
    }

    /// Ends what was started and removes its folder.
    func stop() async {
        let names = ["backend"] + Variant.allCases.map(\.rawValue)
        let masters = names.compactMap { try? NginxFolder(path: folder($0)).master() }  // Not started: nothing to end.
        for master in masters { kill(master, SIGTERM) }
        let deadline = ContinuousClock.now + .seconds(5)
        while masters.contains(where: { kill($0, 0) == 0 }), ContinuousClock.now < deadline {
            try? await Task.sleep(for: .milliseconds(20))  // Cancelled: it ends at the deadline at the latest.
        }
        do { try FileManager.default.removeItem(atPath: root) } catch { progress("\(root) is left: \(error)") }
    }

    // MARK: Making them

    private func folder(_ name: String) -> String { "\(root)/\(name)" }

    private func prepare(_ folder: String) throws {
        for part in ["", "/temp", "/lua", "/admin"] {
            // Its workers are not root: they must get in.
            try FileManager.default.createDirectory(
                atPath: folder + part, withIntermediateDirectories: true, attributes: [.posixPermissions: 0o755])
        }
    }

    private func write(_ text: String, to path: String) throws {
        try text.write(toFile: path, atomically: true, encoding: .utf8)
    }

    private func start(_ name: String) async throws {
        _ = try await Measuring.run(["nginx", "-e", "\(folder(name))/error.log", "-c", "\(folder(name))/nginx.conf"])
    }

    private var user: String? { geteuid() == 0 ? "www-data" : nil }

    private func layout(_ variant: Variant, _ workers: Int) -> ProxyLayout {
        let modules = ["ndk_http_module.so", "ngx_http_lua_module.so"].map { "/usr/lib/nginx/modules/\($0)" }
        return ProxyLayout(
            folder: folder(variant.rawValue), listenHost: "127.0.0.1", listenPort: ports[variant] ?? 0,
            mode: variant == .plain ? .plain : .lua, modulePaths: variant == .plain ? [] : modules,
            luaPackagePath: "/usr/share/lua/5.1/?.lua", workerProcesses: workers, user: user)
    }

    private func render(_ variant: Variant, _ workers: Int) throws -> String {
        let targets = backendPorts.enumerated().map { number, port in
            RoutingTable.Target(
                instance: InstanceID(unchecked: "bench-1-10000\(number)"),
                endpoint: Endpoint(host: "127.0.0.1", port: port))
        }
        let table = RoutingTable(
            version: RoutingTable.Version(epoch: Epoch(1), number: 1),
            routes: [
                RoutingTable.Route(app: Self.app, routing: AppSpec.Routing(hosts: [Self.host]), targets: targets)
            ])
        let layout = layout(variant, workers)
        if variant == .counting {
            try write(MembershipText.render(table.routes, version: table.version), to: layout.membershipPath)
        }
        return ConfigRenderer(layout: layout).render(ProxyStructure(table, reserved: layout.reserved)).text
    }

    private func write(_ text: String, _ variant: Variant) throws {
        let folder = folder(variant.rawValue)
        var text = text
        switch variant {
        case .plain: break
        case .counting:
            for file in LuaSources.files {
                try Data(file.bytes).write(to: URL(filePath: "\(folder)/lua/\(file.name)"))
            }
        case .balancing:
            let lines = text.split(separator: "\n", omittingEmptySubsequences: false)
            let kept = lines.filter { !$0.contains("log_by_lua_block") }
            guard kept.count < lines.count else {
                throw BenchFailure("the generated configuration has no log handler to leave out: look at ProxyRig")
            }
            text = kept.joined(separator: "\n")
            try write(balancerWithoutCounting, to: "\(folder)/lua/orchestry.lua")
            try write("return {}\n", to: "\(folder)/lua/orchestry_admin.lua")
        }
        try write(text, to: "\(folder)/nginx.conf")
    }

    private var balancerWithoutCounting: String {
        """
        local set_current_peer = require("ngx.balancer").set_current_peer
        local ports, turn = { \(backendPorts.map(String.init).joined(separator: ", ")) }, 0
        local M = {}
        function M.init() end
        function M.start() end
        function M.stop() end
        function M.problem() ngx.exit(502) end
        function M.balance()
            turn = turn % #ports + 1
            set_current_peer("127.0.0.1", ports[turn])
        end
        return M

        """
    }

    private func backendText(_ workers: Int) -> String {
        let folder = folder("backend")
        let kinds = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"]
        return """
            \(user.map { "user \($0);" } ?? "")
            worker_processes \(workers);
            pid \(folder)/nginx.pid;
            error_log \(folder)/error.log error;
            events { worker_connections 4096; }
            http {
                \(kinds.map { "\($0)_temp_path \(folder)/temp/\($0);" }.joined(separator: " "))
                access_log off;
                keepalive_requests 1000000000;
                server {
                    \(backendPorts.map { "listen 127.0.0.1:\($0);" }.joined(separator: " "))
                    location / { return 200 "a constant\\n"; }
                }
            }

            """
    }

    /// Each must lead to the backend, or what is measured is something else.
    private func checkAnswers() async throws {
        for variant in Variant.allCases {
            let server = server(variant)
            let connection = try await KeptConnection.open(server, on: .singleton, keepsBodies: true)
            defer { connection.close() }
            for _ in 0..<4 {
                let outcome = try await connection.send(.get("/", host: Self.host), within: .seconds(5))
                guard outcome.status == 200, String(buffer: outcome.body) == "a constant\n" else {
                    throw BenchFailure("\(variant.words) answers \(outcome.status), \(String(buffer: outcome.body))")
                }
            }
        }
    }
}

/// Ports of the loopback address that nobody uses just now.
func freePorts(_ count: Int) async throws -> [Int] {
    var channels: [any Channel] = []
    for _ in 0..<count {
        channels.append(
            try await ServerBootstrap(group: MultiThreadedEventLoopGroup.singleton).bind(host: "127.0.0.1", port: 0)
                .get())
    }
    let ports = channels.compactMap { $0.localAddress?.port }
    for channel in channels { try await channel.close() }
    return ports
}
