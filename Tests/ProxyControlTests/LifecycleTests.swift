import Certificates
import Foundation
import OrchestryModel
import ProxyConfig
import ProxyControl
import TestSupport
import Testing

@Suite(.serialized, .enabled(if: Installed.lua, "nginx with libnginx-mod-http-lua and lua-resty-core is needed"))
struct LifecycleTests {
    /// Another one once it has been replaced.
    private func fileNumber(_ path: String) throws -> Int {
        let attributes = try FileManager.default.attributesOfItem(atPath: path)
        return try #require((attributes[.systemFileNumber] as? NSNumber)?.intValue)
    }

    private func expect(
        _ code: ProxyError.Code, _ body: () async throws(ProxyError) -> Void
    ) async -> ProxyError? {
        do throws(ProxyError) {
            try await body()
            Issue.record("no error, expected \(code)")
            return nil
        } catch {
            #expect(error.code == code, "\(error)")
            return error
        }
    }

    @Test func `a new structure is in effect when apply returns, and requests in flight live on`() async throws {
        try await ProxyFixture.run { proxy in
            try await proxy.controller.apply(proxy.table(1, proxy.route("web", on: [0])))
            async let slow = proxy.get("web", "/sleep/1")
            _ = try await proxy.counters { $0.inFlight == 1 }
            let before = proxy.workers
            for round in 0..<5 {
                let name = "app\(round)"
                let result = try await proxy.controller.apply(
                    proxy.table(UInt64(2 + round), proxy.route("web", on: [0]), proxy.route(name, on: [1])))
                #expect(result.reloaded)
                // Whoever takes the connection must know the new app, and no longer the one before.
                for _ in 0..<4 {
                    #expect(try await proxy.get(name).body == "B\n")
                    #expect(try await proxy.get("app\(round - 1)").status == 404)
                }
            }
            #expect(try await slow.body == "A\n")
            #expect(await eventually { proxy.workers.count == 2 && proxy.workers.isDisjoint(with: before) })
        }
    }

    @Test func `calls that wait are joined`() async throws {
        try await ProxyFixture.run { proxy in
            let calls: UInt64 = 40
            let results = try await withThrowingTaskGroup(of: AppliedResult?.self) { group in
                for number in 1...calls {
                    group.addTask {
                        var web = proxy.route("web", on: [0])
                        web.routing.hosts = ["web\(number)"]
                        do throws(ProxyError) {
                            return try await proxy.controller.apply(proxy.table(number, web))
                        } catch {
                            // Overtaken by a newer table.
                            guard error.code == .stale else { throw error }
                            return nil
                        }
                    }
                }
                var results: [AppliedResult] = []
                for try await result in group { if let result { results.append(result) } }
                return results
            }
            #expect(results.contains { $0.version.number == calls })
            // Each configuration applied is another one; most calls did not get one of their own.
            #expect(Set(results.map(\.generation)).count <= 10)
            #expect(try await proxy.get("web\(calls)").status == 200)
            #expect(try await proxy.get("web1").status == 404)
            _ = await expect(.stale) { () async throws(ProxyError) in
                try await proxy.controller.apply(proxy.table(calls - 1, proxy.route("web", on: [1])))
            }
        }
    }

    @Test(arguments: ["test", "reload"])
    func `a refused configuration leaves the old one serving`(_ stage: String) async throws {
        let include = "/tmp/orc-i-\(UUID().uuidString.prefix(8)).conf"
        try Data().write(to: URL(fileURLWithPath: include))
        defer { try? FileManager.default.removeItem(atPath: include) }  // Left in /tmp if it can't be removed.
        try await ProxyFixture.run(change: { $0.includes = [include] }) { proxy in
            try await proxy.controller.apply(proxy.table(1, proxy.route("web", on: [0])))
            #expect(await eventually { proxy.workers.count == 2 }, "the ones before the first table leave")
            let workers = proxy.workers
            var next = proxy.table(2, proxy.route("new", on: [0]), proxy.route("web", on: [1]))
            let taken = try PortHolder()
            if stage == "test" {
                try Data("nonsense;\n".utf8).write(to: URL(fileURLWithPath: include))
            } else {
                next.routes[0].routing.listenPort = taken.port
            }
            let error = await expect(.rejected) { () async throws(ProxyError) in
                try await proxy.controller.apply(next)
            }
            let reason = stage == "test" ? "unknown directive \"nonsense\"" : "Address already in use"
            #expect(error?.message.contains(reason) == true, "\(String(describing: error))")
            #expect(proxy.events.all.contains { if case .configurationRejected = $0 { true } else { false } })
            // The endpoints of what is served are the new ones all the same.
            #expect(try await proxy.get("web").body == "B\n")
            #expect(try await proxy.get("new").status == 404)
            #expect(proxy.workers == workers)
            // And once the reason is gone the same table is taken.
            try Data().write(to: URL(fileURLWithPath: include))
            next.routes[0].routing.listenPort = nil
            try await proxy.controller.apply(next)
            #expect(try await proxy.get("new").body == "A\n")
        }
    }

    @Test(.enabled(if: geteuid() == 0, "mounting takes root"))
    func `a full disk holds up no endpoint, and the routes are stored when there is room`() async throws {
        let place = "/tmp/orc-p-\(UUID().uuidString.prefix(8))"
        try Shell.run("mkdir \"$1\" && mount -t tmpfs -o size=8m,mode=755 tmpfs \"$1\"", [place])
        // A failure of the test is what is to be seen, not this.
        defer { _ = try? Shell.run("umount -l \"$1\" && rmdir \"$1\"", [place]) }
        try await ProxyFixture.run(change: { $0.folder = place }) { proxy in
            try await proxy.controller.apply(proxy.table(1, proxy.route("web", on: [0])))
            try Shell.run("dd if=/dev/zero of=\"$1/filler\" bs=4k 2>/dev/null || true", [place])
            let result = try await proxy.controller.apply(proxy.table(2, proxy.route("web", on: [1])))
            #expect(!result.reloaded)
            for _ in 0..<6 { #expect(try await proxy.get("web").body == "B\n") }
            let membership = place + "/membership"
            #expect(try String(contentsOfFile: membership, encoding: .utf8).hasPrefix("orchestry-membership 1 1.1\n"))
            // Another structure has to be written first, so it is not in effect, and what is goes on.
            let other = proxy.table(3, proxy.route("web", on: [1]), proxy.route("new", on: [0]))
            _ = await expect(.inputOutput) { () async throws(ProxyError) in try await proxy.controller.apply(other) }
            #expect(try await proxy.get("web").body == "B\n")

            // A node that starts on the full disk takes nginx over, and has what was stored last until it is told more.
            await proxy.controller.release()
            let second = ProxyFixture.controller(proxy.settings, proxy.events)
            try await second.start()
            #expect(try await proxy.get("web").body == "A\n")
            let old = try fileNumber(membership)
            try Shell.run("rm \"$1/filler\"", [place])
            #expect(try await eventually { try fileNumber(membership) != old }, "it is not stored")
            #expect(try await proxy.get("web").body == "A\n")
            #expect(try String(contentsOfFile: membership, encoding: .utf8).hasPrefix("orchestry-membership 1 1.1\n"))

            try Shell.run("dd if=/dev/zero of=\"$1/filler\" bs=4k 2>/dev/null || true", [place])
            try await second.apply(proxy.table(4, proxy.route("web", on: [1])))
            #expect(try await proxy.get("web").body == "B\n")
            try Shell.run("rm \"$1/filler\"", [place])
            let isStored = try await eventually {
                try String(contentsOfFile: membership, encoding: .utf8).hasPrefix("orchestry-membership 1 1.4\n")
            }
            #expect(isStored)
            try await second.apply(
                proxy.table(5, proxy.route("web", on: [1]), proxy.route("new", on: [0])))
            #expect(try await proxy.get("new").body == "A\n")
            await second.release()
            try await proxy.controller.start()
        }
    }

    @Test func `a running nginx is adopted`() async throws {
        try await ProxyFixture.run { proxy in
            try await proxy.controller.apply(proxy.table(7, proxy.route("web", on: [0])))
            #expect(await eventually { proxy.workers.count == 2 }, "the ones before the first table leave")
            let (master, workers) = (proxy.master, proxy.workers)
            let second = ProxyFixture.controller(proxy.settings, proxy.events)
            _ = await expect(.folderInUse) { () async throws(ProxyError) in try await second.start() }
            await proxy.controller.release()
            #expect(try await proxy.get("web").body == "A\n")
            try await second.start()
            #expect(proxy.events.all.last == .adopted(pid: master))
            #expect(proxy.master == master)
            #expect(proxy.workers == workers)
            // Counts go on, and the new one is in control.
            #expect(try await second.readCounters().apps[AppName(unchecked: "web")]?.requests == 1)
            try await second.apply(proxy.table(1, proxy.route("web", on: [1]), proxy.route("new", on: [0])))
            #expect(try await proxy.get("web").body == "B\n")
            #expect(try await proxy.get("new").body == "A\n")
            await second.release()

            // With other settings the master stays, and is reloaded.
            var settings = proxy.settings
            settings.defaultServerMessage = "Something else"
            let third = ProxyFixture.controller(settings, proxy.events)
            try await third.start()
            #expect(proxy.master == master)
            #expect(try await proxy.get("nowhere").body.contains("Something else"))
            #expect(try await proxy.get("web").body == "B\n")
            await third.stop(graceful: true)
            #expect(isGone(master))
        }
    }

    @Test(arguments: [false, true])
    func `nginx comes back by itself`(_ withWorkers: Bool) async throws {
        try await ProxyFixture.run { proxy in
            try await proxy.controller.apply(proxy.table(1, proxy.route("web", on: [0])))
            try await proxy.controller.apply(proxy.table(2, proxy.route("web", on: [1])))
            #expect(try await proxy.get("web").body == "B\n")
            let start = try await proxy.controller.readCounters().start
            let (master, workers) = (proxy.master, proxy.workers)
            if withWorkers {
                kill(master, SIGSTOP)  // So that it starts no new ones.
                for worker in workers { kill(worker, SIGKILL) }
            }
            kill(master, SIGKILL)
            #expect(
                await eventually {
                    proxy.events.all.last.map { if case .started(let pid) = $0 { pid != master } else { false } }
                        ?? false
                })
            #expect(proxy.events.all.contains(.masterExited(pid: master)))
            // The same endpoints, without anybody having sent them again.
            for _ in 0..<4 { #expect(try await proxy.get("web").body == "B\n") }
            #expect(proxy.master != master)
            #expect(try await proxy.controller.readCounters().start != start)
            #expect(await eventually { workers.allSatisfy(isGone) })
            try await proxy.controller.apply(proxy.table(3, proxy.route("web", on: [0])))
            #expect(try await proxy.get("web").body == "A\n")
        }
    }

    @Test func `a port that is taken is said`() async throws {
        let taken = try PortHolder()
        let folder = "/tmp/orc-p-\(UUID().uuidString.prefix(8))"
        let settings = ProxySettings(
            binary: Installed.nginx, folder: folder, listenHost: "127.0.0.1", listenPort: taken.port, mode: .lua)
        let controller = ProxyFixture.controller(settings, ProxyFixture.EventList())
        let error = await expect(.startFailed) { () async throws(ProxyError) in try await controller.start() }
        #expect(error?.message.contains("Address already in use") == true)
        #expect(error?.isRetryable == true)
        await controller.release()
        try FileManager.default.removeItem(atPath: folder)
    }

    @Test func `plain mode reloads for endpoints and says what it can't`() async throws {
        try await ProxyFixture.run(mode: .auto, change: { $0.modulesFolder = "/nowhere" }) { proxy in
            #expect(proxy.controller.mode == .plain)
            #expect(proxy.events.all.contains { if case .fellBackToPlain = $0 { true } else { false } })
            try await proxy.controller.apply(proxy.table(1, proxy.route("web", on: [0])))
            #expect(try await proxy.get("web").body == "A\n")
            let result = try await proxy.controller.apply(proxy.table(2, proxy.route("web", on: [1])))
            #expect(result.reloaded)
            #expect(try await proxy.get("web").body == "B\n")
            #expect(try await !proxy.controller.apply(proxy.table(3, proxy.route("web", on: [1]))).reloaded)
            _ = await expect(.unsupported) { () async throws(ProxyError) in
                _ = try await proxy.controller.readCounters()
            }
            #expect(try await proxy.controller.readStatus().requests >= 2)
        }
        _ = await expect(.notInstalled) { () async throws(ProxyError) in
            let settings = ProxySettings(binary: "no-such-nginx", folder: "/tmp/orc-none", listenPort: 1)
            try await ProxyFixture.controller(settings, ProxyFixture.EventList()).start()
        }
    }

    /// Every golden configuration of the renderer's tests, as it stands but for its folder.
    @Test func `golden configurations pass nginx -t`() throws {
        let golden = URL(fileURLWithPath: #filePath).deletingLastPathComponent().deletingLastPathComponent()
            .appendingPathComponent("ProxyConfigTests/Golden")
        let files = try FileManager.default.contentsOfDirectory(at: golden, includingPropertiesForKeys: nil)
            .filter { $0.pathExtension == "conf" }
        #expect(files.count >= 6)
        for file in files {
            let folder = "/tmp/orc-g-\(UUID().uuidString.prefix(8))"
            for part in ["admin", "lua", "temp", "tls"] {
                try FileManager.default.createDirectory(
                    atPath: "\(folder)/\(part)", withIntermediateDirectories: true)
            }
            defer { try? FileManager.default.removeItem(atPath: folder) }  // Left in /tmp if it can't be removed.
            for source in LuaSources.files {
                try Data(source.bytes).write(to: URL(fileURLWithPath: "\(folder)/lua/\(source.name)"))
            }
            let text = try String(contentsOf: file, encoding: .utf8)
                .replacingOccurrences(of: "/srv/orchestry/proxy", with: folder)
            try Data(text.utf8).write(to: URL(fileURLWithPath: "\(folder)/nginx.conf"))
            let shop = try CertificateAuthority.issue(authority: CertificateAuthority.create(), node: "shop")
            try Data((shop.certificatePEM + shop.keyPEM).utf8).write(to: URL(fileURLWithPath: "\(folder)/tls/shop.pem"))
            let process = Process()
            process.executableURL = URL(fileURLWithPath: Installed.nginx)
            process.arguments = ["-t", "-q", "-p", folder + "/", "-c", "\(folder)/nginx.conf", "-e", "error.log"]
            let output = Pipe()
            process.standardError = output
            try process.run()
            let complaint = String(decoding: output.fileHandleForReading.readDataToEndOfFile(), as: UTF8.self)
            process.waitUntilExit()
            #expect(process.terminationStatus == 0, "\(file.lastPathComponent): \(complaint)")
        }
    }
}
