/// A chart in SVG: the load as an area, the replicas of each policy as steps, seconds short of capacity as marks.
/// Plain shapes only, no script and no font of its own; readable on a light and on a dark ground.
struct ReplicaChart {
    let runs: [ScalingRun]
    let recorded: [ScalingRun.Step]

    private let width = 960.0
    private let height = 420.0
    private let left = 56.0
    private let right = 16.0
    private let loadTop = 34.0
    private let loadBottom = 150.0
    private let replicaTop = 190.0
    private let replicaBottom = 372.0
    private static let colours = ["#0b7285", "#e8590c", "#5f3dc4", "#2b8a3e", "#a61e4d"]

    private var start: Int64 { runs.first?.points.first?.second ?? 0 }
    private var seconds: Double { Double(max(runs.first?.points.count ?? 1, 1)) }
    private var topLoad: Double { Self.round(up: runs.first?.points.map(\.rps).max() ?? 1) }
    private var topCount: Double {
        let most = (runs.map(\.peak) + recorded.map { max($0.from, $0.to) }).max() ?? 1
        return Self.round(up: Double(max(most, 1)))
    }

    var svg: String {
        var text = """
            <svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 \(Self.text(width)) \(Self.text(height))" \
            font-family="sans-serif" font-size="12" role="img">
            <title>Load and replicas over \(Int(seconds)) s</title>
            <style>text { fill: #495057 } .axis { stroke: #adb5bd; stroke-width: 1 }
            @media (prefers-color-scheme: dark) { text { fill: #ced4da } .axis { stroke: #495057 } }</style>

            """
        text += axis("requests/s", top: loadTop, bottom: loadBottom, highest: topLoad)
        text += axis("replicas", top: replicaTop, bottom: replicaBottom, highest: topCount)
        text += load()
        for (number, run) in runs.enumerated() { text += replicas(of: run, number: number) }
        if !recorded.isEmpty { text += recordedLine() }
        text += legend() + times()
        return text + "</svg>\n"
    }

    // MARK: Parts

    private func load() -> String {
        guard let points = runs.first?.points, !points.isEmpty else { return "" }
        var path = "M\(x(start)) \(y(0, loadTop, loadBottom, topLoad))"
        for point in thinned(points) {
            path += "L\(x(point.second)) \(y(point.rps, loadTop, loadBottom, topLoad))"
        }
        path += "L\(x(start + Int64(seconds))) \(y(0, loadTop, loadBottom, topLoad))Z"
        return "<path d=\"\(path)\" fill=\"#74c0fc\" fill-opacity=\"0.45\" stroke=\"#1c7ed6\"/>\n"
    }

    /// About one point for a pixel, peaks kept.
    private func thinned(_ points: [ScalingRun.Point]) -> [ScalingRun.Point] {
        let stride = max(1, points.count / Int(width))
        return Swift.stride(from: 0, to: points.count, by: stride).compactMap { from in
            points[from..<min(from + stride, points.count)].max { $0.rps < $1.rps }
        }
    }

    private func replicas(of run: ScalingRun, number: Int) -> String {
        let colour = Self.colours[number % Self.colours.count]
        let first = run.steps.first?.from ?? run.points.last?.desired ?? 0
        var text = line(first, run.steps, "stroke=\"\(colour)\" stroke-width=\"2\"")
        // Runs of short seconds, as a band at the foot, one row a policy.
        let top = replicaBottom + 4 + Double(number) * 5
        var from: Int64?
        for point in run.points {
            if point.isShort, from == nil { from = point.second }
            if let begun = from, !point.isShort || point.second == run.points.last?.second {
                let end = point.isShort ? point.second + 1 : point.second
                text +=
                    "<rect x=\"\(x(begun))\" y=\"\(Self.text(top))\" width=\"\(Self.text(max(1, xValue(end) - xValue(begun))))\""
                text += " height=\"4\" fill=\"\(colour)\"/>\n"
                from = nil
            }
        }
        return text
    }

    private func recordedLine() -> String {
        line(recorded.first?.from ?? 0, recorded, "stroke=\"#868e96\" stroke-dasharray=\"4 3\"")
    }

    private func line(_ first: Int, _ steps: [ScalingRun.Step], _ style: String) -> String {
        var path = "M\(x(start)) \(y(Double(first), replicaTop, replicaBottom, topCount))"
        for step in steps { path += "H\(x(step.second))V\(y(Double(step.to), replicaTop, replicaBottom, topCount))" }
        return "<path d=\"\(path)H\(x(start + Int64(seconds)))\" fill=\"none\" \(style)/>\n"
    }

    private func axis(_ name: String, top: Double, bottom: Double, highest: Double) -> String {
        var text = "<text x=\"\(Self.text(left))\" y=\"\(Self.text(top - 8))\">\(name)</text>\n"
        for part in [0.0, 0.5, 1] {
            let level = y(highest * part, top, bottom, highest)
            text +=
                "<line class=\"axis\" x1=\"\(Self.text(left))\" x2=\"\(Self.text(width - right))\" y1=\"\(level)\" y2=\"\(level)\"/>"
            text += "<text x=\"\(Self.text(left - 6))\" y=\"\(level)\" dy=\"4\" text-anchor=\"end\">"
            text += "\(Self.text(highest * part))</text>\n"
        }
        return text
    }

    private func times() -> String {
        var text = ""
        for part in [0.0, 0.25, 0.5, 0.75, 1] {
            let second = (seconds * part).rounded()
            let label = seconds >= 7_200 ? "\(Self.text((second / 360).rounded() / 10)) h" : "\(Int(second)) s"
            text +=
                "<text x=\"\(x(start + Int64(second)))\" y=\"\(Self.text(height - 6))\" text-anchor=\"middle\">\(label)</text>"
        }
        return text + "\n"
    }

    private func legend() -> String {
        var text = ""
        var place = left + 90
        for (number, run) in runs.enumerated() {
            let name = run.rule.replacing("&", with: "&amp;").replacing("<", with: "&lt;")
            text += "<rect x=\"\(Self.text(place))\" y=\"\(Self.text(replicaTop - 18))\" width=\"12\" height=\"12\""
            text += " fill=\"\(Self.colours[number % Self.colours.count])\"/>"
            text +=
                "<text x=\"\(Self.text(place + 17))\" y=\"\(Self.text(replicaTop - 8))\">\(name), short \(run.secondsShort) s</text>\n"
            place += 140 + Double(name.count) * 7
        }
        if !recorded.isEmpty {
            text += "<text x=\"\(Self.text(place))\" y=\"\(Self.text(replicaTop - 8))\">dashed: as recorded</text>\n"
        }
        return text
    }

    // MARK: Places

    private func xValue(_ second: Int64) -> Double {
        left + (width - left - right) * min(max(Double(second - start) / seconds, 0), 1)
    }
    private func x(_ second: Int64) -> String { Self.text(xValue(second)) }
    private func y(_ value: Double, _ top: Double, _ bottom: Double, _ highest: Double) -> String {
        Self.text(bottom - (bottom - top) * min(value / highest, 1))
    }

    /// The next of 1, 2, 5 times a power of ten.
    private static func round(up value: Double) -> Double {
        var unit = 1.0
        while unit * 10 <= value { unit *= 10 }
        while unit > value, unit > 1e-3 { unit /= 10 }
        for factor in [1.0, 2, 5, 10] where unit * factor >= value { return unit * factor }
        return unit * 10
    }

    /// With at most one digit after the point.
    private static func text(_ value: Double) -> String {
        let tenths = Int((value * 10).rounded())
        return tenths % 10 == 0 ? "\(tenths / 10)" : "\(tenths < 0 ? "-" : "")\(abs(tenths) / 10).\(abs(tenths) % 10)"
    }
}
