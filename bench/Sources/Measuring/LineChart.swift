/// A line chart as SVG: plain text, no script, readable in any browser.
package struct LineChart: Hashable, Sendable {
    package struct Line: Hashable, Sendable {
        package var name: String
        package var points: [Point]
        package init(_ name: String, _ points: [Point]) {
            self.name = name
            self.points = points
        }
    }
    package struct Point: Hashable, Sendable {
        package var x: Double
        package var y: Double
        package init(x: Double, y: Double) {
            self.x = x
            self.y = y
        }
    }

    package var title: String
    package var xLabel: String
    package var lines: [Line]

    package init(_ title: String, xLabel: String, lines: [Line]) {
        self.title = title
        self.xLabel = xLabel
        self.lines = lines
    }

    private static let size = (width: 720.0, height: 240.0)
    private static let margin = (left: 70.0, right: 150.0, top: 28.0, bottom: 34.0)
    private static let colors = ["#0b62a4", "#c2410c", "#15803d", "#7e22ce", "#a16207", "#be123c"]

    /// One `<g>` for a document of several charts.
    /// - Parameter offset: from the document's top, pixels.
    private func group(at offset: Double) -> String {
        let points = lines.flatMap(\.points)
        let xs = points.map(\.x)
        let ys = points.map(\.y)
        let (left, right) = (xs.min() ?? 0, xs.max() ?? 1)
        let top = max(ys.max() ?? 1, 1e-9)
        let width = Self.size.width - Self.margin.left - Self.margin.right
        let height = Self.size.height - Self.margin.top - Self.margin.bottom
        func place(_ point: Point) -> String {
            let x = Self.margin.left + (point.x - left) / max(right - left, 1e-9) * width
            let y = Self.margin.top + (1 - point.y / top) * height
            return "\(Self.short(x)),\(Self.short(y))"
        }
        let bottom = Self.margin.top + height
        var parts = [
            "<g transform=\"translate(0 \(Self.short(offset)))\">",
            Self.text(Self.margin.left, 18, title, anchor: "start"),
            "<path d=\"M\(Self.short(Self.margin.left)) \(Self.short(Self.margin.top))V\(Self.short(bottom))"
                + "H\(Self.short(Self.margin.left + width))\" fill=\"none\" stroke=\"#888\"/>",
            Self.text(Self.margin.left - 6, Self.margin.top + 5, Report.format(top), anchor: "end"),
            Self.text(Self.margin.left - 6, bottom, "0", anchor: "end"),
            Self.text(Self.margin.left, bottom + 16, Report.format(left), anchor: "start"),
            Self.text(Self.margin.left + width, bottom + 16, "\(Report.format(right)) \(xLabel)", anchor: "end"),
        ]
        for (number, line) in lines.enumerated() where !line.points.isEmpty {
            let color = Self.colors[number % Self.colors.count]
            parts.append(
                "<polyline points=\"\(line.points.map(place).joined(separator: " "))\" fill=\"none\" "
                    + "stroke=\"\(color)\" stroke-width=\"1.5\"/>")
            parts.append(
                Self.text(
                    Self.margin.left + width + 8, Self.margin.top + 12 + Double(number) * 16, line.name,
                    anchor: "start",
                    color: color))
        }
        return (parts + ["</g>"]).joined(separator: "\n")
    }

    /// All charts, one below the other.
    package static func document(_ charts: [LineChart]) -> String {
        let height = size.height * Double(charts.count)
        let head =
            "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"\(short(size.width))\" height=\"\(short(height))\" "
            + "viewBox=\"0 0 \(short(size.width)) \(short(height))\" font-family=\"sans-serif\" font-size=\"12\">"
        let groups = charts.enumerated().map { $0.element.group(at: Double($0.offset) * size.height) }
        return ([head, "<rect width=\"100%\" height=\"100%\" fill=\"white\"/>"] + groups + ["</svg>"])
            .joined(separator: "\n") + "\n"
    }

    private static func text(
        _ x: Double, _ y: Double, _ words: String, anchor: String, color: String = "#222"
    ) -> String {
        let escaped = words.map { character -> String in
            switch character {
            case "&": "&amp;"
            case "<": "&lt;"
            case ">": "&gt;"
            default: String(character)
            }
        }
        return "<text x=\"\(short(x))\" y=\"\(short(y))\" text-anchor=\"\(anchor)\" fill=\"\(color)\">"
            + "\(escaped.joined())</text>"
    }

    /// At most one digit after the point.
    private static func short(_ number: Double) -> String {
        let rounded = (number * 10).rounded() / 10
        return rounded == rounded.rounded() ? String(Int(rounded)) : String(rounded)
    }
}
