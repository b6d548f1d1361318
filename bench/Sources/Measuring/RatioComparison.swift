import Foundation

/// What is read back of a report that was written as JSON.
package struct EarlierResult: Sendable, Decodable {
    package struct Ratio: Hashable, Sendable, Decodable {
        package var name: String
        package var value: Double
        package var baseline: String

        package init(_ name: String, _ value: Double, baseline: String) {
            self.name = name
            self.value = value
            self.baseline = baseline
        }
    }
    package var ratios: [Ratio]

    /// - Throws: what Foundation says when the file can't be read or is no report.
    package init(contentsOf path: String) throws {
        self = try JSONDecoder().decode(EarlierResult.self, from: Data(contentsOf: URL(filePath: path)))
    }
}

/// Ratios of two runs, side by side.
package struct RatioComparison: Hashable, Sendable {
    package struct Entry: Hashable, Sendable {
        package var ratio: Report.Ratio
        /// nil: the earlier run had no such ratio.
        package var earlier: Double?
        package var isWorse: Bool
    }
    package var entries: [Entry] = []
    /// Of the earlier run, what this one lacks.
    package var missing: [String] = []

    /// - Parameter tolerancePercent: at least 0; a ratio may be worse by this without being called so.
    package init(_ ratios: [Report.Ratio], earlier: [EarlierResult.Ratio], tolerancePercent: Double) {
        let factor = 1 + tolerancePercent / 100
        for ratio in ratios {
            let before = earlier.first { $0.name == ratio.name && $0.baseline == ratio.baseline }?.value
            let isWorse =
                before.map { before in
                    ratio.better == .lower ? ratio.value > before * factor : ratio.value * factor < before
                } ?? false
            entries.append(Entry(ratio: ratio, earlier: before, isWorse: isWorse))
        }
        missing = earlier.filter { old in !ratios.contains { $0.name == old.name && $0.baseline == old.baseline } }
            .map { "\($0.name) × \($0.baseline)" }
    }

    /// A ratio that is no longer measured counts: a check that stops checking must not pass.
    package var isWorse: Bool { !missing.isEmpty || entries.contains(where: \.isWorse) }

    package var lines: [String] {
        entries.map { entry in
            let before = entry.earlier.map { "was \(Report.format($0))" } ?? "is new"
            return "\(entry.isWorse ? "WORSE" : "ok") \(entry.ratio.name): \(Report.format(entry.ratio.value)) × "
                + "\(entry.ratio.baseline), \(before)"
        } + missing.map { "MISSING \($0)" }
    }
}
