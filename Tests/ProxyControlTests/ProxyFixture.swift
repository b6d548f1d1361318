import Foundation
import Logging
import OrchestryModel
import ProxyConfig
import ProxyControl
import Synchronization
import TestSupport
import Testing

/// A controller with an nginx on a free port, in a folder of its own, and two backends.
final class ProxyFixture: Sendable {
    let settings: ProxySettings
    let controller: NginxController
    let backend: Backend
    let events = EventList()
    let port: Int

    final class EventList: Sendable {
        private let list = Mutex<[ProxyEvent]>([])
        func append(_ event: ProxyEvent) { list.withLock { $0.append(event) } }
        var all: [ProxyEvent] { list.withLock { $0 } }
    }

    init(mode: ProxySettings.Mode, backends: Int, extra: String, _ change: (inout ProxySettings) -> Void) throws {
        backend = try Backend(count: backends, withLua: extra)
        port = try PortHolder.free(1)[0]
        var settings = ProxySettings(
            binary: Installed.nginx, folder: "/tmp/orc-p-\(UUID().uuidString.prefix(8))", listenHost: "127.0.0.1",
            listenPort: port, mode: mode, workerProcesses: 2, workerConnections: 512)
        change(&settings)
        self.settings = settings
        controller = Self.controller(settings, events)
    }

    static func controller(_ settings: ProxySettings, _ events: EventList) -> NginxController {
        NginxController(settings: settings, logger: Logger(label: "test") { _ in SwiftLogNoOpLogHandler() }) {
            events.append($0)
        }
    }

    /// Runs a test against a started controller and ends its nginx whatever happens.
    static func run(
        mode: ProxySettings.Mode = .lua, backends: Int = 2, extra: String = "",
        change: (inout ProxySettings) -> Void = { _ in }, _ body: (ProxyFixture) async throws -> Void
    ) async throws {
        let fixture = try ProxyFixture(mode: mode, backends: backends, extra: extra, change)
        do {
            try await fixture.controller.start()
            try await body(fixture)
        } catch {
            await fixture.end()
            throw error
        }
        await fixture.end()
    }

    private func end() async {
        await controller.stop(graceful: false)
        // Left in /tmp if it can't be removed; harms nothing.
        try? FileManager.default.removeItem(atPath: settings.folder)
    }

    // MARK: - Tables

    func table(_ number: UInt64, _ routes: RoutingTable.Route...) -> RoutingTable {
        RoutingTable(version: .init(epoch: Epoch(1), number: number), routes: routes)
    }

    /// - Parameter on: indices of backends; the instances are `<app>-1-a`, `-b`…
    func route(
        _ name: String, on backends: [Int], method: AppSpec.Routing.Method = .leastConnections,
        change: (inout AppSpec.Routing) -> Void = { _ in }
    ) -> RoutingTable.Route {
        route(name, at: backends.map { (Backend.letters[$0].lowercased(), backend.ports[$0]) }, method, change)
    }

    func route(
        _ name: String, at places: [(suffix: String, port: Int)],
        _ method: AppSpec.Routing.Method = .leastConnections, _ change: (inout AppSpec.Routing) -> Void = { _ in }
    ) -> RoutingTable.Route {
        var routing = AppSpec.Routing(hosts: [name], method: method)
        change(&routing)
        let targets = places.map { place in
            RoutingTable.Target(
                instance: id(name, place.suffix), endpoint: Endpoint(host: "127.0.0.1", port: place.port))
        }
        return RoutingTable.Route(app: AppName(unchecked: name), routing: routing, targets: targets)
    }

    func id(_ name: String, _ suffix: String) -> InstanceID { InstanceID(unchecked: "\(name)-1-\(suffix)") }

    func get(_ host: String, _ path: String = "/", source: String = "127.0.0.1") async throws -> Reply {
        try await request(port, host: host, path, source: source)
    }

    // MARK: - What nginx says

    func counters(_ name: String = "web") async throws -> ProxyCounters.App {
        try await controller.readCounters().apps[AppName(unchecked: name)] ?? ProxyCounters.App()
    }

    /// Counting happens after the answer has left, so a reader waits for it.
    func counters(_ name: String = "web", when done: (ProxyCounters.App) -> Bool) async throws -> ProxyCounters.App {
        var last = ProxyCounters.App()
        let came = try await eventually {
            last = try await counters(name)
            return done(last)
        }
        #expect(came, "counters: \(last)")
        return last
    }

    var master: Int32 {
        let text = (try? String(contentsOfFile: settings.folder + "/nginx.pid", encoding: .utf8)) ?? ""
        return Int32(text.filter(\.isNumber)) ?? -1
    }

    /// Of the present master, those on their way out included.
    var workers: Set<Int32> {
        let path = "/proc/\(master)/task/\(master)/children"
        let text = (try? String(contentsOfFile: path, encoding: .utf8)) ?? ""
        return Set(text.split { !$0.isNumber }.compactMap { Int32($0) })
    }
}

/// Ended; whoever has to collect its exit status may not have done so yet.
func isGone(_ pid: Int32) -> Bool {
    guard let stat = try? String(contentsOfFile: "/proc/\(pid)/stat", encoding: .utf8) else { return true }
    return stat.contains(") Z ")
}
