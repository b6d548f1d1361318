import Foundation
import Measuring
import Testing

@Suite struct MeasuringTests {
    private static let percentiles: [([Double], Double, Double, Double, Double)] = [
        ([7], 7, 7, 7, 7), ([3, 1, 2], 2, 3, 3, 3), ((1...20).map(Double.init), 10, 19, 20, 20),
        ((1...1000).reversed().map(Double.init), 500, 950, 990, 1000),
    ]
    @Test(arguments: percentiles)
    func `percentiles go by nearest rank`(values: [Double], p50: Double, p95: Double, p99: Double, max: Double) throws {
        let summary = try #require(Summary(values))
        #expect(summary.values == [Double(values.count), p50, p95, p99, max])
    }

    @Test func `nothing measured has no summary`() { #expect(Summary([]) == nil) }

    @Test(arguments: [
        (0.0, "0"), (0.12345, "0.123"), (1.2345, "1.23"), (56.78, "56.8"), (123.4, "123"), (1234.4, "1,234"),
        (1_234_567, "1,234,567"), (-2000, "-2,000"), (3, "3"), (.infinity, "-"),
    ])
    func `numbers are short`(value: Double, text: String) { #expect(Report.format(value) == text) }

    @Test func `a table is aligned and has its ratio under it`() {
        var table = Report.Table("latency, µs", columns: ["n", "p50"])
        table.add("bare", [1000, 50])
        table.add("ours, a long name", [10, nil])
        var report = Report("protocol", setting: "64 bytes")
        report.tables = [table]
        report.compare("ours", 60, with: 50, called: "bare")
        report.compare("unknown", nil, with: 50, called: "bare")
        let lines = report.text.split(separator: "\n", omittingEmptySubsequences: false).map(String.init)
        #expect(lines[0] == "protocol: 64 bytes")
        #expect(lines[1].hasPrefix("machine: \(ProcessInfo.processInfo.activeProcessorCount) cores"))
        #expect(
            Array(lines[2...]) == [
                "", "latency, µs",
                "                         n  p50",
                "  bare               1,000   50",
                "  ours, a long name     10    -",
                "", "ratios", "  ours  1.20 × bare",
            ])
    }

    @Test func `JSON names each value by its column`() throws {
        var table = Report.Table("latency, µs", columns: ["n", "p50"])
        table.add("bare", [4, nil])
        let json = try JSONSerialization.jsonObject(with: JSONEncoder().encode(table)) as? [String: Any]
        let row = try #require((json?["rows"] as? [[String: Any]])?.first)
        #expect(row["name"] as? String == "bare")
        #expect(row["values"] as? [String: Double] == ["n": 4])
    }

    @Test func `a program's output comes back, a failing one says why`() async throws {
        #expect(try await run(["sh", "-c", "echo hello"]) == "hello\n")
        let error = await #expect(throws: SubprocessError.self) {
            try await run(["sh", "-c", "echo because >&2; exit 3"])
        }
        #expect(error?.description.contains("ended with 3: because") == true)
    }

    @Test func `a program that leaves a child running is not waited for longer`() async throws {
        let start = ContinuousClock.now
        let child = try await run(["sh", "-c", "sleep 30 & echo $!"])
        #expect(ContinuousClock.now - start < .seconds(20))
        kill(try #require(pid_t(child.trimmingCharacters(in: .whitespacesAndNewlines))), SIGKILL)
    }
}
