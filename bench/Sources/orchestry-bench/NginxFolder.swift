import Foundation
import Measuring
import ProxyConfig
import Synchronization

/// The folder in which a node keeps its nginx: who runs there, and what it has counted.
struct NginxFolder: Sendable {
    /// Without a trailing slash.
    var path: String

    private var layout: ProxyLayout { ProxyLayout(folder: path, listenPort: 1) }

    /// - Throws: when no nginx runs there.
    func master() throws -> pid_t {
        let file = layout.pidPath
        guard let text = try? String(contentsOfFile: file, encoding: .utf8),  // Said below.
            let pid = pid_t(text.trimmingCharacters(in: .whitespacesAndNewlines)), kill(pid, 0) == 0 || errno == EPERM
        else { throw BenchFailure("no nginx runs in \(path) (looked for its process id in \(file))") }
        return pid
    }

    /// What this nginx has counted since it was started.
    func counters() async throws -> ProxyCounters {
        let answer = try await HTTPRequest(.get, "/counters").send(toSocket: layout.adminSocketPath)
        guard answer.status == 200 else { throw BenchFailure("\(path): counters can't be had: \(answer.status)") }
        return try ProxyCounters.parse(answer.text)
    }

    func workers() throws -> Set<pid_t> { Set(Processes.all().filter { $0.parent == (try? master()) }.map(\.pid)) }
}

/// Processes of this machine, by what Linux shows of them.
enum Processes {
    struct Entry: Hashable, Sendable {
        var pid: pid_t
        var parent: pid_t
        /// User and system, seconds, to a hundredth.
        var processorSeconds: Double
    }

    static func all() -> [Entry] {
        let names = (try? FileManager.default.contentsOfDirectory(atPath: "/proc")) ?? []  // No /proc: none are known.
        return names.compactMap { pid_t($0) }.compactMap(entry)
    }

    /// - Returns: nil when there is no such process (any more).
    static func entry(_ pid: pid_t) -> Entry? {
        guard let text = try? String(contentsOfFile: "/proc/\(pid)/stat", encoding: .utf8),  // It has ended.
            // The name before it may hold anything, parentheses too.
            let end = text.lastIndex(of: ")")
        else { return nil }
        // From the third field on, proc(5).
        let fields = text[text.index(after: end)...].split(separator: " ")
        guard fields.count > 12, let parent = pid_t(fields[1]), let user = Double(fields[11]),
            let system = Double(fields[12])
        else { return nil }
        let ticks = Double(sysconf(Int32(_SC_CLK_TCK)))
        return Entry(pid: pid, parent: parent, processorSeconds: (user + system) / ticks)
    }
}

/// Counts the worker processes that nginx masters start: each reload starts new ones.
final class ReloadWatch: Sendable {
    private struct State {
        var known: [[pid_t: Set<pid_t>]] = []
        var started = 0
        var restarts = 0
    }
    private let folders: [NginxFolder]
    private let state: Mutex<State>

    /// Those that run now don't count.
    init(_ folders: [NginxFolder]) throws {
        self.folders = folders
        state = Mutex(State(known: try folders.map { [try $0.master(): try $0.workers()] }))
    }

    /// Workers started since. A reload starts as many as nginx is set to have.
    var started: Int { state.withLock { $0.started } }
    /// Masters that are not the ones of the beginning.
    var restarts: Int { state.withLock { $0.restarts } }

    /// Looks twice a second until cancelled: the workers of a reload stay until the next.
    func run() async {
        while !Task.isCancelled {
            look()
            try? await Task.sleep(for: .milliseconds(500))  // Cancelled: the condition ends the loop.
        }
    }

    func look() {
        let all = Dictionary(grouping: Processes.all(), by: \.parent)
        for (position, folder) in folders.enumerated() {
            guard let master = try? folder.master() else { continue }  // It is being restarted: the next look sees it.
            let workers = Set((all[master] ?? []).map(\.pid))
            state.withLock { state in
                if state.known[position][master] == nil { state.restarts += 1 }
                let fresh = workers.subtracting(state.known[position][master] ?? [])
                state.started += fresh.count
                state.known[position][master, default: []].formUnion(fresh)
            }
        }
    }
}
