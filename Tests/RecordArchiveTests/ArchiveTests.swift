import Foundation
import OrchestryModel
import RecordArchive
import TestSupport
import Testing

struct ArchiveTests {
    private let folder: TemporaryFolder
    private var archive: ArchiveFolder { ArchiveFolder(path: folder.path) }
    private let day = (
        starts: WallTime(milliseconds: 1_699_920_000_000), ends: WallTime(milliseconds: 1_700_006_400_000)
    )

    init() throws { folder = try TemporaryFolder("archive") }

    private func writer(_ node: String = "alice") async throws -> ArchiveWriter {
        try await ArchiveWriter.make(
            folder: archive, table: "events", partition: "events_20231114", node: NodeID(unchecked: node))
    }

    private func write(_ rows: [(id: Int64, line: String)], batch: Int = 100) async throws -> ArchiveManifest? {
        let writer = try await writer()
        for start in stride(from: 0, to: rows.count, by: batch) {
            try await writer.append(Array(rows[start..<min(start + batch, rows.count)]))
        }
        return try await writer.finish(starts: day.starts, ends: day.ends, at: day.ends)
    }

    private func rows(_ ids: ClosedRange<Int64>) -> [(id: Int64, line: String)] {
        ids.map { ($0, "{\"id\":\($0),\"message\":\"\(UInt64.random(in: 0...UInt64.max)) ü\"}") }
    }

    @Test func `rows come back whole, by our reader and by gzip's own`() async throws {
        let rows = rows(7...5_006)
        let manifest = try #require(try await write(rows))
        #expect(manifest.rows == 5_000 && manifest.firstID == 7 && manifest.lastID == 5_006)
        #expect(manifest.fileBytes < manifest.contentBytes)
        try archive.verify(manifest)
        let file = folder.appending("events/\(manifest.name).jsonl.gz")
        #expect(try Shell.run("gzip -dc \"$1\"", [file]) == rows.map(\.line).joined(separator: "\n"))
        #expect(try Shell.run("sha256sum \"$1\"", [file]).hasPrefix(manifest.fileHash + " "))
        let text = try String(
            contentsOfFile: folder.appending("events/\(manifest.name).manifest.json"), encoding: .utf8)
        #expect(ArchiveManifest(try JSONValue(jsonText: text)) == manifest)
        let report = try archive.check()
        #expect(report.good == [manifest] && report.problems.isEmpty)
        #expect(try FileManager.default.contentsOfDirectory(atPath: folder.appending("events")).count == 2)
    }

    @Test func `other rows of the same day are another file`() async throws {
        _ = try await write(rows(1...10))
        _ = try await write(rows(11...20))
        #expect(try archive.check().good.map(\.rows) == [10, 10])
    }

    /// It led before, stood still, and goes on when its successor has archived and dropped the partition.
    @Test(arguments: ["bob", "alice"])
    func `a writer that is late harms nothing of its successor's`(_ late: String) async throws {
        let rows = rows(1...5_000)
        let first = try await writer(late)
        try await first.append(Array(rows[..<2_000]))
        let manifest = try #require(try await write(rows))
        // More than is buffered: it is really written.
        try await first.append(self.rows(5_001...50_000))
        first.cancel()
        try await first.append([])  // After what was begun.
        try archive.verify(manifest)
        #expect(try archive.check().good == [manifest])
        #expect(try FileManager.default.contentsOfDirectory(atPath: folder.appending("events")).count == 2)
    }

    @Test func `no rows, no file`() async throws {
        #expect(try await write([]) == nil)
        #expect(try FileManager.default.contentsOfDirectory(atPath: folder.appending("events")).isEmpty)
    }

    @Test(arguments: ["one bit changed", "cut off", "something added", "gone", "of another time"])
    func `damage is found`(_ damage: String) async throws {
        let manifest = try #require(try await write(rows(1...2_000)))
        let file = URL(fileURLWithPath: folder.appending("events/\(manifest.name).jsonl.gz"))
        var data = try Data(contentsOf: file)
        switch damage {
        case "one bit changed": data[data.count / 2] ^= 1
        case "cut off": data.removeLast(5)
        case "something added": data.append(0)
        case "gone": try FileManager.default.removeItem(at: file)
        default:
            let other = try #require(try await write(rows(3_000...4_000)))
            data = try Data(contentsOf: URL(fileURLWithPath: folder.appending("events/\(other.name).jsonl.gz")))
        }
        if damage != "gone" { try data.write(to: file) }
        #expect(throws: ArchiveError.self) { try archive.verify(manifest) }
        let report = try archive.check()
        #expect(report.problems.count == 1)
        #expect("\(report.problems)".contains(manifest.name))
    }

    @Test(.enabled(if: geteuid() == 0, "mounting takes root"))
    func `a full disk is an error, and leaves no archive`() async throws {
        try Shell.run("mount -t tmpfs -o size=128k tmpfs \"$1\"", [folder.path])
        defer { _ = try? Shell.run("umount \"$1\"", [folder.path]) }  // Left mounted, it is seen by whoever looks.
        let error = await #expect(throws: ArchiveError.self) { _ = try await write(rows(1...50_000)) }
        #expect("\(error.map { "\($0)" } ?? "")".lowercased().contains("no space"))
        #expect(try archive.check().good.isEmpty)
    }
}
