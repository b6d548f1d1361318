import Foundation
import Measuring
import Synchronization

/// A node's processes and files, from outside.
struct WatchedNode: Sendable {
    var pidFile: String
    var proxy: NginxFolder

    /// By name, in the order to be shown.
    /// - Throws: when the node or its nginx does not run.
    func look() throws -> [(name: String, value: Double)] {
        guard let text = try? String(contentsOfFile: pidFile, encoding: .utf8),  // Said below.
            let pid = pid_t(text.trimmingCharacters(in: .whitespacesAndNewlines)), let node = ProcessUse(pid)
        else { throw BenchFailure("no process is named by \(pidFile)") }
        let folder = URL(filePath: pidFile).deletingLastPathComponent()
        let label = folder.lastPathComponent
        let master = try proxy.master()
        let members = [master] + Processes.all().filter { $0.parent == master }.map(\.pid)
        let nginx = members.compactMap { ProcessUse($0) }
        let files = Self.files(in: folder.path(percentEncoded: false))
        return [
            ("\(label): memory, MiB", node.megabytes), ("\(label): descriptors", node.descriptors),
            ("\(label): threads", node.threads),
            ("\(label) nginx: processes", Double(nginx.count)),
            ("\(label) nginx: memory, MiB", nginx.reduce(0) { $0 + $1.megabytes }),
            ("\(label) nginx: descriptors", nginx.reduce(0) { $0 + $1.descriptors }),
            ("\(label): files", Double(files.count)), ("\(label): files, MiB", files.bytes / 1_048_576),
        ]
    }

    private static func files(in folder: String) -> (count: Int, bytes: Double) {
        var sum = (count: 0, bytes: 0.0)
        // Files that go while they are counted are not counted.
        for case let path as String in FileManager.default.enumerator(atPath: folder) ?? .init() {
            var status = stat()
            guard lstat("\(folder)/\(path)", &status) == 0, status.st_mode & S_IFMT == S_IFREG else { continue }
            sum.count += 1
            sum.bytes += Double(status.st_blocks) * 512
        }
        return sum
    }
}

/// What a process holds.
struct ProcessUse {
    var megabytes = 0.0
    var threads = 0.0
    var descriptors = 0.0

    /// - Returns: nil when there is no such process.
    init?(_ pid: pid_t) {
        guard let status = try? String(contentsOfFile: "/proc/\(pid)/status", encoding: .utf8),  // It has ended.
            let open = try? FileManager.default.contentsOfDirectory(atPath: "/proc/\(pid)/fd")  // The same.
        else { return nil }
        descriptors = Double(open.count)
        for line in status.split(separator: "\n") {
            let words = line.split(whereSeparator: { $0 == " " || $0 == "\t" })
            guard words.count > 1, let number = Double(words[1]) else { continue }
            if words[0] == "VmRSS:" { megabytes = number / 1_024 }
            if words[0] == "Threads:" { threads = number }
        }
    }
}

/// Looks at everything now and then.
final class SoakWatch: Sendable {
    private struct State {
        var names: [String] = []
        var points: [String: [LineChart.Point]] = [:]
        var failures: [String] = []
    }
    private let nodes: [WatchedNode]
    private let postgres: String
    private let state = Mutex(State())

    init(nodes: [WatchedNode], postgres: String) {
        self.nodes = nodes
        self.postgres = postgres
    }

    /// By what was looked at; x in minutes since the beginning.
    var series: [LineChart.Line] {
        state.withLock { state in state.names.map { LineChart.Line($0, state.points[$0] ?? []) } }
    }
    /// What could not be seen, each once.
    var failures: [String] { state.withLock { $0.failures } }

    /// Runs until cancelled.
    func run(every interval: Duration) async {
        let begin = ContinuousClock.now
        while !Task.isCancelled {
            let minutes = (ContinuousClock.now - begin) / .seconds(60)
            for node in nodes {
                do { add(try node.look(), at: minutes) } catch { fail("\(error)") }
            }
            do { add(try await rows(), at: minutes) } catch { fail("rows are not counted: \(error)") }
            try? await Task.sleep(for: interval)  // Cancelled: the condition ends the loop.
        }
    }

    /// Of PostgreSQL's tables, partitions together; as its statistics have them.
    private func rows() async throws -> [(name: String, value: Double)] {
        let query = """
            SELECT regexp_replace(relname, '_?p?[0-9][0-9_]*$', ''), sum(n_live_tup) FROM pg_stat_user_tables \
            GROUP BY 1 ORDER BY 1
            """
        let text = try await Measuring.run(["psql", postgres, "-XAtqc", query])
        return text.split(separator: "\n").compactMap { line in
            let parts = line.split(separator: "|")
            guard parts.count == 2, let count = Double(parts[1]) else { return nil }
            return ("rows of \(parts[0])", count)
        }
    }

    private func add(_ values: [(name: String, value: Double)], at minutes: Double) {
        state.withLock { state in
            for (name, value) in values {
                if state.points[name] == nil { state.names.append(name) }
                state.points[name, default: []].append(LineChart.Point(x: minutes, y: value))
            }
        }
    }

    private func fail(_ words: String) {
        state.withLock { if !$0.failures.contains(words), $0.failures.count < 10 { $0.failures.append(words) } }
    }
}
