import OrchestryModel

/// Builds Prometheus' text format 0.0.4: one HELP and TYPE line for each family, its samples together.
struct PrometheusText {
    /// Upper bounds of a histogram's buckets, seconds: those of Prometheus' own client libraries, with a finer start.
    static let bounds = [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10]

    private var order: [String] = []
    private var families: [String: (help: String, type: String, lines: [String])] = [:]

    mutating func gauge(_ name: String, _ help: String, _ labels: [String: String], _ value: Double) {
        add(name, help, "gauge", sample: name, labels, value)
    }
    mutating func counter(_ name: String, _ help: String, _ labels: [String: String], _ value: Double) {
        add(name, help, "counter", sample: name, labels, value)
    }

    mutating func histogram(
        _ name: String, _ help: String, _ labels: [String: String], _ histogram: LatencyHistogram, sumSeconds: Double
    ) {
        var buckets = histogram.buckets[...]
        var seen: UInt64 = 0
        for bound in Self.bounds {
            while let first = buckets.first, LatencyHistogram.midpoint(ofBucket: first.index) <= bound * 1_000_000 {
                seen += first.count
                buckets.removeFirst()
            }
            add(name, help, "histogram", sample: name + "_bucket", labels, le: "\(bound)", Double(seen))
        }
        let total = Double(histogram.count)
        add(name, help, "histogram", sample: name + "_bucket", labels, le: "+Inf", total)
        add(name, help, "histogram", sample: name + "_sum", labels, sumSeconds)
        add(name, help, "histogram", sample: name + "_count", labels, total)
    }

    private mutating func add(
        _ family: String, _ help: String, _ type: String, sample: String, _ labels: [String: String],
        le bound: String? = nil, _ value: Double
    ) {
        if families[family] == nil {
            order.append(family)
            families[family] = (help, type, [])
        }
        var pairs = labels.sorted { $0.key < $1.key }.map { key, value in
            let escaped = value.replacing("\\", with: "\\\\").replacing("\"", with: "\\\"").replacing("\n", with: "\\n")
            return "\(key)=\"\(escaped)\""
        }
        if let bound { pairs.append("le=\"\(bound)\"") }
        let all = pairs.isEmpty ? "" : "{\(pairs.joined(separator: ","))}"
        families[family]?.lines.append("\(sample)\(all) \(value)")
    }

    var rendered: String {
        order.compactMap { name in
            families[name].map {
                "# HELP \(name) \($0.help)\n# TYPE \(name) \($0.type)\n" + $0.lines.joined(separator: "\n")
            }
        }.joined(separator: "\n") + "\n"
    }
}
