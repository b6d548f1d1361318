import Foundation
import TestSupport
import Testing

/// Wall clocks and time zones: leadership goes by monotonic clocks and PostgreSQL's, and must not care.
@Suite(.serialized, .enabled(if: obstacle == nil, "\(obstacle ?? "")"), .timeLimit(.minutes(10)))
struct ClockTests {
    /// libfaketime, which gives a process another wall clock; nil: not installed.
    static var library: String? {
        let root = "/usr/lib"
        // Without the folder it is not installed either.
        let folders = (try? FileManager.default.contentsOfDirectory(atPath: root)) ?? []
        return folders.map { "\(root)/\($0)/faketime/libfaketimeMT.so.1" }.first {
            FileManager.default.fileExists(atPath: $0)
        }
    }

    @Test(
        .enabled(
            if: obstacle != nil || library != nil
                || ProcessInfo.processInfo.environment["ORCHESTRY_DEV_REQUIRE_SERVICES"] != nil,
            "libfaketime is not installed"))
    func `wall clocks jump by ten minutes, and one node lives in another time zone`() async throws {
        let library = try #require(Self.library)
        let folder = try TemporaryFolder("clocks")
        var options = ChaosCluster.Options()
        for name in ChaosCluster.names {
            let file = folder.appending(name)
            try "+0".write(toFile: file, atomically: true, encoding: .utf8)
            options.environment[name] = [
                "LD_PRELOAD": library, "FAKETIME_TIMESTAMP_FILE": file, "FAKETIME_NO_CACHE": "1",
                "FAKETIME_DONT_FAKE_MONOTONIC": "1",
            ]
        }
        options.environment["controller-3", default: [:]]["TZ"] = "Asia/Kathmandu"
        // So long that a busy machine does not change the leader on its own: any change is the clocks' doing.
        options.leadership = "{promise: 3s, lease_ttl: 12s}"
        let scenario = Scenario(
            label: "clocks",
            what: "leader's wall clock +10 min, then −10 min, then a follower's the other way round, one node in "
                + "another time zone", keepsLeader: true
        ) { cluster, leader in
            let fault = machineNanoseconds()
            let follower = cluster.others(than: leader)[0].name
            for (name, offset) in [(leader, "+600"), (leader, "-600"), (follower, "+600"), (follower, "-600")] {
                try offset.write(toFile: folder.appending(name), atomically: true, encoding: .utf8)
                try await hold(.milliseconds(1_500))
                let shown = try await cluster.wallClock(of: name)
                let expected = (Double(offset) ?? 0) + Date().timeIntervalSince1970
                guard abs(shown - expected) < 60 else {
                    throw ChaosFailure("\(name)'s wall clock does not follow: \(shown), expected \(expected)")
                }
            }
            return .init(fault: fault, mended: machineNanoseconds())
        }
        try await withChaosCluster(options) { cluster in
            for round in 1...rounds { try await play(scenario, on: cluster, round: round) }
        }
    }
}

extension ChaosCluster {
    /// What a node's wall clock shows, by the times in its log: seconds since 1970.
    func wallClock(of name: String) async throws -> Double {
        let text = String(
            decoding: try Data(contentsOf: URL(fileURLWithPath: member(name).log)).suffix(4_000), as: UTF8.self)
        let times = text.split(separator: "\n").compactMap { line -> Double? in
            guard let start = line.range(of: "{\"time\":\"")?.upperBound else { return nil }
            // Half a line at the beginning has none.
            return try? Date(
                String(line[start...].prefix(23)) + "Z",
                strategy: .iso8601.year().month().day()
                    .time(includingFractionalSeconds: true).timeZone(separator: .omitted)
            ).timeIntervalSince1970
        }
        guard let last = times.last else { throw ChaosFailure("\(name) has logged nothing with a time") }
        return last
    }
}
