import OrchestryModel

extension Presentation {
    /// One app's load of now.
    package struct AppUsage: Hashable, Sendable {
        package var app: AppName
        package var status: Application.Status
        package var wanted: Int
        package var ready: Int
        /// nil: there are no recent metrics.
        package var observed: ObservedMetrics?
        package init(
            app: AppName, status: Application.Status, wanted: Int, ready: Int, observed: ObservedMetrics?
        ) {
            self.app = app
            self.status = status
            self.wanted = wanted
            self.ready = ready
            self.observed = observed
        }
    }

    /// `GET /metrics/apps`, sorted as given. What was not measured is null.
    package static func usageOfApps(_ apps: [AppUsage]) -> JSONValue {
        func number(_ value: Double?) -> JSONValue { value.map { rounded($0, digits: 2) } ?? .null }
        return [
            "apps": .array(
                apps.map { usage in
                    [
                        "app": .string(usage.app.rawValue), "status": .string(usage.status.rawValue),
                        "replicas": JSONValue(usage.wanted), "ready_replicas": JSONValue(usage.ready),
                        "rps": number(usage.observed?.rps),
                        "p95_latency_ms": number(usage.observed?.p95LatencyMilliseconds),
                        "active_connections": number(usage.observed?.activeConnections),
                        "cpu_percent": number(usage.observed?.cpuPercent),
                        "memory_percent": number(usage.observed?.memoryPercent),
                    ]
                })
        ]
    }
}
