import CSQLite
import Foundation
import MetricsCache
import OrchestryModel
import TestSupport
import Testing

@Suite(.timeLimit(.minutes(2)))
struct MetricsDatabaseTests {
    private let base: Int64 = 1_700_000_040  // A whole minute.

    private func sample(_ second: Int64, app: String = "web", requests: UInt64 = 10) -> Sample {
        var latency = LatencyHistogram()
        latency.record(microseconds: 500, count: requests)
        return Sample(
            app: AppName(unchecked: app), node: alice, second: second, interval: 1, requests: requests,
            statusClasses: [0, requests, 0, 0, 0], requestSeconds: 0.5, inFlight: 4, latency: latency,
            instances: [
                InstanceSample(
                    instance: InstanceID(unchecked: "\(app)-1-aaaaaa"), cpuPercent: Double(requests), memoryPercent: 50,
                    requests: requests, errors: 1, inFlight: 2),
                InstanceSample(instance: InstanceID(unchecked: "\(app)-1-bbbbbb"), requests: 0),
            ])
    }

    private func open(_ folder: TemporaryFolder, maximumBytes: Int64? = nil) throws -> MetricsDatabase {
        try MetricsDatabase(folder: folder.path, maximumBytes: maximumBytes, logger: quiet)
    }

    @Test func `samples come back whole and in order, also after a crash`() async throws {
        let folder = try TemporaryFolder("metrics")
        let database = try open(folder)
        defer { database.shutdown() }
        let samples = (0..<10).flatMap { [sample(base + $0, app: "api"), sample(base + $0, app: "web")] }
        for start in stride(from: 0, to: samples.count, by: 4) {
            try await database.append(Array(samples[start..<min(start + 4, samples.count)]))
        }
        #expect(try await database.samples(sinceSecond: 0) == samples)
        #expect(try await database.samples(sinceSecond: base + 7) == Array(samples.suffix(6)))
        let changed = sample(base + 9, requests: 99)
        try await database.append([changed])
        #expect(try await database.samples(sinceSecond: base + 9) == [samples[18], changed])

        let copy = try crashCopy("metrics.db", from: folder)
        let survivor = try open(copy)
        defer { survivor.shutdown() }
        #expect(try await survivor.samples(sinceSecond: 0).count == samples.count)
    }

    @Test func `minutes add up what their seconds hold`() async throws {
        let database = try open(try TemporaryFolder("metrics"))
        defer { database.shutdown() }
        try await database.append((0..<60).map { sample(base + $0, requests: UInt64($0 + 1)) })
        try await database.append([sample(base + 60), sample(base + 3, app: "api")])
        try await database.prune(nowSecond: base + 119)
        #expect(try await database.minutes(sinceSecond: 0).isEmpty, "samples may still come late")
        try await database.prune(nowSecond: base + 121)
        let minutes = try await database.minutes(sinceSecond: 0)
        #expect(minutes.map(\.app.rawValue) == ["api", "web"])
        let minute = try #require(try await database.minutes(app: web, sinceSecond: base).first)
        #expect(minute.second == base)
        #expect(minute.interval == 60)
        #expect(minute.requests == 1830)
        #expect(minute.statusClasses == [0, 1830, 0, 0, 0])
        #expect(minute.requestSeconds == 30)
        #expect(minute.inFlight == 4)
        #expect(minute.latency.count == 1830)
        #expect(minute.instances.map(\.instance.rawValue) == ["web-1-aaaaaa", "web-1-bbbbbb"])
        #expect(minute.instances[0].cpuPercent == 30.5)
        #expect(minute.instances[0].memoryPercent == 50)
        #expect(minute.instances[0].requests == 1830)
        #expect(minute.instances[0].errors == 60)
        #expect(minute.instances[1].cpuPercent == nil)
        // Again changes nothing; the next minute follows when it is complete.
        try await database.prune(nowSecond: base + 121)
        #expect(try await database.minutes(sinceSecond: 0) == minutes)
        try await database.prune(nowSecond: base + 181)
        #expect(try await database.minutes(sinceSecond: base + 60).map(\.requests) == [10])
    }

    @Test func `seconds go after an hour, minutes after a week, and a clock that ran ahead leaves nothing`()
        async throws
    {
        let database = try open(try TemporaryFolder("metrics"))
        defer { database.shutdown() }
        let week: Int64 = 7 * 86_400
        try await database.append((0..<300).map { sample(base + $0) } + [sample(base + 10 * week)])
        try await database.prune(nowSecond: base + 3700)
        #expect(try await database.samples(sinceSecond: 0).map(\.second) == Array((base + 100)..<(base + 300)))
        #expect(try await database.minutes(sinceSecond: 0).count == 5)
        try await database.prune(nowSecond: base + 2 * 86_400)
        #expect(try await database.samples(sinceSecond: 0).isEmpty)
        #expect(try await database.minutes(sinceSecond: 0).count == 5)
        try await database.prune(nowSecond: base + week + 120)
        #expect(try await database.minutes(sinceSecond: 0).map(\.second) == [base + 120, base + 180, base + 240])
        try await database.prune(nowSecond: base + 2 * week)
        #expect(try await database.minutes(sinceSecond: 0).isEmpty)
        try await database.prune(nowSecond: base + 2 * week)
    }

    enum Damage: CaseIterable { case notADatabase, brokenPage }

    @Test(arguments: Damage.allCases)
    func `a damaged file is set aside and a new one begun`(_ damage: Damage) async throws {
        let folder = try TemporaryFolder("metrics")
        let path = folder.appending("metrics.db")
        let first = try open(folder)
        try await first.append((0..<500).map { sample(base + $0) })
        first.shutdown()
        switch damage {
        case .notADatabase: try overwrite(path, at: 0, with: Array("this is not a database at all".utf8))
        case .brokenPage: try overwrite(path, at: 4096, with: [UInt8](repeating: 0xAB, count: 8192))
        }
        let second = try open(folder)
        #expect(try await second.samples(sinceSecond: 0).isEmpty)
        #expect(FileManager.default.fileExists(atPath: path + ".damaged"))
        try await second.append([sample(base)])
        second.shutdown()
        let third = try open(folder)
        defer { third.shutdown() }
        #expect(try await third.samples(sinceSecond: 0) == [sample(base)])
    }

    @Test func `damage found while running is survived too`() async throws {
        let folder = try TemporaryFolder("metrics")
        let path = folder.appending("metrics.db")
        let database = try open(folder)
        // More than SQLite's page cache (2 MB) holds, so that the damage is seen.
        try await database.append((0..<30_000).map { sample(base + $0) })
        database.shutdown()
        let running = try open(folder)
        defer { running.shutdown() }
        // From the second page on: no read can go around it.
        let size = try #require(FileManager.default.attributesOfItem(atPath: path)[.size] as? Int)
        try overwrite(path, at: 4096, with: [UInt8](repeating: 0xAB, count: size - 4096))
        _ = try await running.samples(sinceSecond: 0)
        try await running.append([sample(base + 90_000)])
        #expect(try await running.samples(sinceSecond: base + 90_000) == [sample(base + 90_000)])
        #expect(FileManager.default.fileExists(atPath: path + ".damaged"))
    }

    @Test func `a full disk is an error, and over when there is room again`() async throws {
        let folder = try TemporaryFolder("metrics")
        let database = try open(folder, maximumBytes: 256 << 10)
        defer { database.shutdown() }
        var second = base
        var failure: MetricsError?
        while failure == nil, second < base + 100_000 {
            do {
                try await database.append((0..<50).map { sample(second + $0) })
                second += 50
            } catch {
                failure = error
            }
        }
        #expect(failure == .diskFull)
        let stored = try await database.samples(sinceSecond: 0)
        #expect(stored.count == Int(second - base), "all of what was accepted, nothing of what was not")
        try await database.prune(nowSecond: second + 3 * 86_400)
        let size = try #require(
            FileManager.default.attributesOfItem(atPath: folder.appending("metrics.db"))[.size] as? Int)
        #expect(size <= 256 << 10)
        try await database.append([sample(second + 3 * 86_400)])
        #expect(try await database.samples(sinceSecond: 0).count == 1)
    }

    @Test func `records of evaluations come back in order, and go with their seconds`() async throws {
        let folder = try TemporaryFolder("metrics")
        let web = AppName(unchecked: "web")
        func line(_ second: Int64, _ text: String, app: String = "web") -> MetricsDatabase.ScalingLine {
            .init(app: AppName(unchecked: app), second: second, text: text)
        }
        do {
            let database = try open(folder)
            defer { database.shutdown() }
            // In the order of writing, not of seconds: a change may be about an earlier one.
            try await database.append([line(base + 60, "a"), line(base, "b"), line(base, "x", app: "shop")])
            try await database.append([sample(base), sample(base + 1)], seen: [base + 1, base + 7])
            try await database.append([sample(base + 2, app: "shop")])
        }
        let database = try open(folder)
        defer { database.shutdown() }
        #expect(try await database.scalingLines(app: web, sinceSecond: 0) == ["a", "b"])
        #expect(try await database.scalingLines(app: web, sinceSecond: base + 1) == ["a"])
        let recorded = try await database.recorded(app: web, sinceSecond: 0)
        #expect(recorded.map(\.sample) == [sample(base), sample(base + 1)])
        #expect(recorded.map(\.seen) == [base + 1, base + 7])
        try await database.prune(nowSecond: base + 30 + MetricsDatabase.rawSeconds)
        #expect(try await database.scalingLines(app: web, sinceSecond: 0) == ["a"])
    }

    @Test func `the file of the release before is taken over with its samples`() async throws {
        let folder = try TemporaryFolder("metrics")
        let first = try open(folder)
        try await first.append([sample(base)], seen: [base + 1])
        first.shutdown()
        // As it was laid out then.
        var handle: OpaquePointer?
        #expect(sqlite3_open(folder.appending("metrics.db"), &handle) == SQLITE_OK)
        let sql = "ALTER TABLE samples DROP COLUMN seen; DROP TABLE scaling; PRAGMA user_version = 1"
        #expect(sqlite3_exec(handle, sql, nil, nil, nil) == SQLITE_OK)
        sqlite3_close(handle)
        let database = try open(folder)
        defer { database.shutdown() }
        #expect(try await database.samples(sinceSecond: 0) == [sample(base)])
        #expect(try await database.recorded(app: AppName(unchecked: "web"), sinceSecond: 0).map(\.seen) == [0])
        #expect(!FileManager.default.fileExists(atPath: folder.appending("metrics.db.damaged")))
    }

    @Test(.enabled(if: geteuid() == 0, "mounting takes root"))
    func `a really full file system costs samples, and nothing else`() async throws {
        let folder = try TemporaryFolder("metrics")
        let place = folder.appending("small")
        try run("mkdir", place)
        try run("mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", place)
        defer { try? run("umount", "-l", place) }  // A failure of the test is what is to be seen, not this.
        let database = try MetricsDatabase(folder: place, logger: quiet)
        defer { database.shutdown() }
        try await database.append([sample(base)])
        try run("sh", "-c", "dd if=/dev/zero of=\(place)/filler bs=4k 2>/dev/null || true")
        var failure: MetricsError?
        for second in 1...2_000 as ClosedRange<Int64> where failure == nil {
            do { try await database.append([sample(base + second)]) } catch { failure = error }
        }
        #expect(failure == .diskFull)
        #expect(try await database.samples(sinceSecond: 0).first == sample(base), "what there was can be read")
        try run("rm", "\(place)/filler")
        try await database.append([sample(base + 5_000)])
        #expect(try await database.samples(sinceSecond: base + 5_000).count == 1, "room again: it goes on")
        #expect(!FileManager.default.fileExists(atPath: place + "/metrics.db.damaged"))
    }

    private func run(_ arguments: String...) throws {
        let process = Process()
        process.executableURL = URL(fileURLWithPath: "/usr/bin/env")
        process.arguments = arguments
        try process.run()
        process.waitUntilExit()
        try #require(process.terminationStatus == 0, "\(arguments)")
    }

    @Test func `samples appended during a long prune get their turn`() async throws {
        let database = try open(try TemporaryFolder("metrics"))
        defer { database.shutdown() }
        try await database.append((0..<3000).map { sample(base + $0) })
        async let pruned: Void = database.prune(nowSecond: base + 86_400)
        for second in 0..<20 as Range<Int64> { try await database.append([sample(base + 86_400 + second)]) }
        try await pruned
        #expect(try await database.samples(sinceSecond: 0).count == 20)
        #expect(try await database.minutes(sinceSecond: 0).count == 50)
    }

    @Test func `after shutdown calls fail`() async throws {
        let database = try open(try TemporaryFolder("metrics"))
        database.shutdown()
        database.shutdown()
        await #expect(throws: MetricsError.shutDown) { try await database.append([sample(base)]) }
    }
}
