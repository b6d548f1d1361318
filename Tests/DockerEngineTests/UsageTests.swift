import DockerEngine
import Foundation
import OrchestryModel
import Testing

@Suite struct UsageTests {
    private let limits = AppSpec.Resources(cpuMillicores: 500, memoryBytes: 100)

    private func reading(_ cpu: UInt64, _ memory: Int64 = 50, at seconds: Int64) -> UsageReading {
        UsageReading(cpuNanoseconds: cpu, memoryBytes: memory, at: Instant(nanoseconds: seconds * 1_000_000_000))
    }

    @Test func `usage is a percentage of the limit`() {
        let delta = UsageDelta(
            previous: reading(1_000_000_000, at: 10), current: reading(1_500_000_000, at: 12), limits: limits)
        #expect(delta.cpuPercent == 50 && delta.memoryPercent == 50)
    }

    @Test func `without an earlier reading, or with a wrong one, there is no CPU percentage`() {
        #expect(UsageDelta(previous: nil, current: reading(5, at: 1), limits: limits).cpuPercent == nil)
        #expect(UsageDelta(previous: reading(9, at: 1), current: reading(5, at: 2), limits: limits).cpuPercent == nil)
        #expect(UsageDelta(previous: reading(5, at: 2), current: reading(9, at: 2), limits: limits).cpuPercent == nil)
        #expect(UsageDelta(previous: reading(5, at: 3), current: reading(9, at: 2), limits: limits).cpuPercent == nil)
        let unlimited = AppSpec.Resources(cpuMillicores: 0, memoryBytes: 0)
        let delta = UsageDelta(previous: reading(5, at: 1), current: reading(9, at: 2), limits: unlimited)
        #expect(delta.cpuPercent == nil && delta.memoryPercent == nil)
    }

    struct Layout: Sendable {
        var name: String
        /// Path below the root, with `ID` for the container, and content.
        var files: [(String, String)]
        var cpu: UInt64
        var memory: Int64
    }

    static let layouts = [
        Layout(
            name: "version 1, cgroupfs driver",
            files: [
                ("cpuacct/docker/ID/cpuacct.usage", "123456789\n"),
                ("memory/docker/ID/memory.usage_in_bytes", "5000\n"),
                ("memory/docker/ID/memory.stat", "cache 900\ninactive_file 1\ntotal_inactive_file 1000\n"),
            ], cpu: 123_456_789, memory: 4_000),
        Layout(
            name: "version 1, systemd driver",
            files: [
                ("cpu,cpuacct/system.slice/docker-ID.scope/cpuacct.usage", "7\n"),
                ("memory/system.slice/docker-ID.scope/memory.usage_in_bytes", "10\n"),
                ("memory/system.slice/docker-ID.scope/memory.stat", "total_inactive_file 20\n"),
            ], cpu: 7, memory: 0),
        Layout(
            name: "version 2, systemd driver",
            files: [
                ("system.slice/docker-ID.scope/cpu.stat", "usage_usec 2500\nuser_usec 1\n"),
                ("system.slice/docker-ID.scope/memory.current", "8192\n"),
                ("system.slice/docker-ID.scope/memory.stat", "anon 1\ninactive_file 4096\nactive_file 9\n"),
            ], cpu: 2_500_000, memory: 4_096),
        Layout(
            name: "version 2, cgroupfs driver",
            files: [
                ("docker/ID/cpu.stat", "usage_usec 1\n"), ("docker/ID/memory.current", "1\n"),
                ("docker/ID/memory.stat", ""),
            ], cpu: 1_000, memory: 1),
    ]

    @Test(arguments: UsageTests.layouts)
    func `the kernel's files are found and read`(_ layout: Layout) async throws {
        let root = FileManager.default.temporaryDirectory.appendingPathComponent(UUID().uuidString)
        defer { try? FileManager.default.removeItem(at: root) }  // A temporary folder; the system empties it too.
        for (path, content) in layout.files {
            let file = root.appendingPathComponent(path.replacingOccurrences(of: "ID", with: "c0ffee"))
            try FileManager.default.createDirectory(
                at: file.deletingLastPathComponent(), withIntermediateDirectories: true)
            try content.write(to: file, atomically: true, encoding: .utf8)
        }
        let reader = UsageReader(engine: nil, root: root.path)
        let readings = await reader.read(["c0ffee", "absent"])
        #expect(Array(readings.keys) == ["c0ffee"], "\(layout.name)")
        #expect(readings["c0ffee"]?.cpuNanoseconds == layout.cpu && readings["c0ffee"]?.memoryBytes == layout.memory)
        // The container ends: its files go.
        try FileManager.default.removeItem(at: root)
        #expect(await reader.read(["c0ffee"]).isEmpty)
    }
}
