import Foundation
import Measuring
import Testing

struct ComparisonTests {
    private static func ratio(_ name: String, _ value: Double, _ better: Report.Ratio.Better = .lower) -> Report.Ratio {
        Report.Ratio(name, value, baseline: "bare", better: better)
    }
    private static func earlier(_ name: String, _ value: Double) -> EarlierResult.Ratio {
        EarlierResult.Ratio(name, value, baseline: "bare")
    }

    @Test(arguments: [
        (1.2, Report.Ratio.Better.lower, 1.0, false), (1.21, .lower, 1.0, true), (0.5, .lower, 1.0, false),
        (0.84, .higher, 1.0, false), (0.83, .higher, 1.0, true), (2.0, .higher, 1.0, false),
    ])
    func `a ratio is worse beyond the tolerance, in its own direction`(
        now: Double, better: Report.Ratio.Better, before: Double, worse: Bool
    ) {
        let comparison = RatioComparison(
            [Self.ratio("x", now, better)], earlier: [Self.earlier("x", before)], tolerancePercent: 20)
        #expect(comparison.isWorse == worse)
        #expect(comparison.lines.first?.hasPrefix(worse ? "WORSE x" : "ok x") == true, "\(comparison.lines)")
    }

    @Test func `a new ratio is no fault, one that is gone is`() {
        let new = RatioComparison([Self.ratio("x", 9)], earlier: [], tolerancePercent: 0)
        #expect(!new.isWorse && new.lines == ["ok x: 9 × bare, is new"])
        let gone = RatioComparison([], earlier: [Self.earlier("x", 9)], tolerancePercent: 0)
        #expect(gone.isWorse && gone.lines == ["MISSING x × bare"])
    }

    @Test func `a report that was written is read back`() throws {
        var report = Report("some", setting: "thing")
        report.compare("throughput", 90, with: 100, called: "bare", better: .higher)
        report.compare("time", 2, with: 1, called: "bare")
        report.goal("time, ms", 40, atMost: 50)
        let file = FileManager.default.temporaryDirectory.appending(path: "comparison-\(UUID().uuidString).json")
        defer { try? FileManager.default.removeItem(at: file) }  // The system's folder for such things.
        try JSONEncoder().encode(report).write(to: file)
        let earlier = try EarlierResult(contentsOf: file.path(percentEncoded: false))
        #expect(
            earlier.ratios == [
                EarlierResult.Ratio("throughput", 0.9, baseline: "bare"),
                EarlierResult.Ratio("time", 2, baseline: "bare"),
            ])
        #expect(!RatioComparison(report.ratios, earlier: earlier.ratios, tolerancePercent: 0).isWorse)
    }

    @Test func `a goal says whether it is met`() {
        var report = Report("some", setting: "thing")
        report.goal("a round, ms", 50, atMost: 50)
        report.goal("throughput", 0.949, atLeast: 0.95)
        report.goal("unknown", nil, atMost: 1)
        #expect(report.goals.map(\.isMet) == [true, false])
        #expect(report.text.contains("  throughput: 0.949, at least 0.950 wanted: MISSED"))
    }
}
