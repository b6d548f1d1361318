/// Reading `scaling.customMetrics` and `scaling.schedules`.
extension DocumentReader {
    private static let customKeys = ["name", "metric", "labels", "type", "target", "path", "port"]
    private static let scheduleKeys = ["name", "start", "end", "timeZone", "minReplicas", "maxReplicas"]

    mutating func customMetrics(_ section: Object) -> [ScalingPolicy.CustomMetric]? {
        var metrics: [ScalingPolicy.CustomMetric] = []
        for (path, value) in list(section, "customMetrics", atMost: 8, of: "{name, target}") ?? [] {
            guard let entry = object(value, at: path, keys: Self.customKeys) else {
                if value == .null { report(path, "must be an object with name and target") }
                continue
            }
            for required in ["name", "target"] where entry[required] == nil {
                report("\(path).\(required)", "is required")
            }
            let rule = "a metric's name (letters, digits, '_' and ':', no digit first)"
            let name = text(entry, "name", atMost: 63, rule, Self.isMetricName)
            let metric = text(entry, "metric", atMost: 128, rule, Self.isMetricName) ?? name
            let kind: ScalingPolicy.CustomMetric.Kind =
                choice(entry, "type", [("gauge", .gauge), ("counter", .counter)]) ?? .gauge
            let target = number(entry, "target", 0.001...1_000_000_000)
            let page =
                text(entry, "path", atMost: 256, "a path that begins with '/'") {
                    $0.hasPrefix("/") && !$0.contains(" ")
                }
            let port = integer(entry, "port", 1...65_535)
            let labels = metricLabels(entry)
            guard let name, let metric, let target else { continue }
            if ScalingNames.reserved.contains(name) {
                report("\(path).name", "must not be \(name), which is a metric of its own")
            } else if metrics.contains(where: { $0.name == name }) {
                report("\(path).name", "must not come twice")
            }
            metrics.append(
                ScalingPolicy.CustomMetric(
                    name: name, metric: metric, labels: labels, kind: kind, target: target, path: page ?? "/metrics",
                    port: port))
        }
        return metrics.isEmpty ? nil : metrics
    }

    private mutating func metricLabels(_ entry: Object) -> [String: String] {
        guard let value = entry["labels"] else { return [:] }
        let path = entry.path(of: "labels")
        guard case .object(let members) = value, members.count <= 8 else {
            report(path, "must be an object of at most 8 texts, got \(Self.describe(value))")
            return [:]
        }
        var labels: [String: String] = [:]
        for (key, value) in members.sorted(by: { $0.key < $1.key }) {
            if !Self.isMetricName(key) { report("\(path).\(Self.shortened(key))", "is not a label's name") }
            labels[key] = plainText(value, at: "\(path).\(Self.shortened(key))", showing: true)
        }
        return labels
    }

    private static func isMetricName(_ text: String) -> Bool {
        guard let first = text.utf8.first, !(48...57).contains(first) else { return false }
        return text.utf8.allSatisfy {
            (48...57).contains($0) || (65...90).contains($0) || (97...122).contains($0) || $0 == 0x5F || $0 == 0x3A
        }
    }

    mutating func schedules(_ section: Object) -> [ScalingSchedule]? {
        var schedules: [ScalingSchedule] = []
        for (path, value) in list(section, "schedules", atMost: 16, of: "{name, start, end, minReplicas}") ?? [] {
            guard let entry = object(value, at: path, keys: Self.scheduleKeys) else {
                if value == .null { report(path, "must be an object with name, start and end") }
                continue
            }
            for required in ["name", "start", "end"] where entry[required] == nil {
                report("\(path).\(required)", "is required")
            }
            let name = text(entry, "name", atMost: 63, "1 to 63 characters")
            let start = cron(entry, "start")
            let end = cron(entry, "end")
            let zone =
                text(entry, "timeZone", atMost: 64, "a time zone's name such as \"Europe/Berlin\"") { zone in
                    zone.utf8.allSatisfy(Self.isZoneByte)
                } ?? "UTC"
            let minimum = integer(entry, "minReplicas", 1...1_000)
            let maximum = integer(entry, "maxReplicas", 1...1_000)
            if entry["minReplicas"] == nil, entry["maxReplicas"] == nil {
                report(path, "must give minReplicas, maxReplicas or both")
            }
            if let minimum, let maximum, maximum < minimum {
                report("\(path).maxReplicas", "must be at least minReplicas (\(minimum)), got \(maximum)")
            }
            guard let name, let start, let end else { continue }
            if start == end { report("\(path).end", "must not be the same as start") }
            if schedules.contains(where: { $0.name == name }) { report("\(path).name", "must not come twice") }
            schedules.append(
                ScalingSchedule(
                    name: name, start: start, end: end, timeZone: zone, minReplicas: minimum, maxReplicas: maximum))
        }
        return schedules.isEmpty ? nil : schedules
    }

    private static func isZoneByte(_ byte: UInt8) -> Bool {
        (48...57).contains(byte) || (65...90).contains(byte) || (97...122).contains(byte) || "/_+-".utf8.contains(byte)
    }

    private mutating func cron(_ entry: Object, _ key: String) -> CronExpression? {
        guard let value = entry[key] else { return nil }
        guard case .string(let text) = value, text.utf8.count <= 128 else {
            report(
                entry.path(of: key),
                "must be a cron expression such as \"0 8 * * mon-fri\", got \(Self.describe(value))")
            return nil
        }
        do throws(CronError) {
            return try CronExpression(text)
        } catch {
            report(entry.path(of: key), error.message)
            return nil
        }
    }
}

/// Names of metrics that a policy has fields for.
enum ScalingNames {
    static let reserved: Set<String> = ["rps", "latency", "connections", "cpu", "memory"]
}
