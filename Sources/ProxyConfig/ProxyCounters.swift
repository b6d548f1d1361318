import OrchestryModel

/// What nginx has counted. All numbers but the two gauges called `inFlight` have only grown since `start` appeared.
public struct ProxyCounters: Hashable, Sendable {
    public struct Instance: Hashable, Sendable {
        /// Attempts finished: a request that was tried on two instances counts with both.
        public var requests: UInt64
        /// Of these, status 500…599 or no answer.
        public var errors: UInt64
        public var inFlight: UInt64
        /// nil while the app's targets all have one weight: then nobody compares.
        public var latency: LatencyHistogram?
        public init(
            requests: UInt64 = 0, errors: UInt64 = 0, inFlight: UInt64 = 0, latency: LatencyHistogram? = nil
        ) {
            self.requests = requests
            self.errors = errors
            self.inFlight = inFlight
            self.latency = latency
        }
    }

    public struct App: Hashable, Sendable {
        /// Requests whose target has been chosen and that have not ended; an upgraded connection until it closes.
        public var inFlight: UInt64
        /// Sum over requests of the time from the choice of an instance to the end of the response. Upgraded
        /// connections (status 101) are neither in it nor in the histogram.
        public var requestMicroseconds: UInt64
        /// Finished requests by class 1xx, 2xx, 3xx, 4xx, 5xx: always five.
        public var statusClasses: [UInt64]
        public var latency: LatencyHistogram
        public var instances: [InstanceID: Instance]
        public init(
            inFlight: UInt64 = 0, requestMicroseconds: UInt64 = 0, statusClasses: [UInt64] = [0, 0, 0, 0, 0],
            latency: LatencyHistogram = LatencyHistogram(), instances: [InstanceID: Instance] = [:]
        ) {
            self.inFlight = inFlight
            self.requestMicroseconds = requestMicroseconds
            self.statusClasses = statusClasses
            self.latency = latency
            self.instances = instances
        }
        public var requests: UInt64 { statusClasses.reduce(0, +) }
    }

    /// Another text means that counting began again from zero.
    public var start: String
    public var apps: [AppName: App]
    public init(start: String, apps: [AppName: App]) {
        self.start = start
        self.apps = apps
    }
}

extension ProxyCounters {
    public struct ParseError: Error, Hashable, Sendable, CustomStringConvertible {
        /// From 1.
        public var line: Int
        public init(line: Int) { self.line = line }
        public var description: String { "the proxy's counters can't be read at line \(line)" }
    }

    /// Reads what `GET /counters` answers; the format is described in `orchestry_admin.lua`.
    public static func parse(_ text: some StringProtocol) throws(ParseError) -> ProxyCounters {
        var counters: ProxyCounters?
        var app: (name: AppName, counts: App)?
        var number = 0
        var complete = false
        for line in text.split(separator: "\n") {
            number += 1
            let words = line.split(separator: " ")
            let bad = ParseError(line: number)
            guard !complete, let kind = words.first else { throw bad }
            if counters == nil {
                guard kind == "counters", words.count == 3, words[1] == "1" else { throw bad }
                counters = ProxyCounters(start: String(words[2]), apps: [:])
                continue
            }
            switch kind {
            case "a":
                if let app { counters?.apps[app.name] = app.counts }
                guard words.count == 9, let name = AppName(rawValue: String(words[1])),
                    let values = numbers(words.dropFirst(2))
                else { throw bad }
                app = (
                    name, App(inFlight: values[0], requestMicroseconds: values[1], statusClasses: Array(values[2...]))
                )
            case "h":
                guard app != nil, let buckets = buckets(words.dropFirst()) else { throw bad }
                app?.counts.latency = LatencyHistogram(buckets: buckets)
            case "i":
                guard app != nil, words.count == 5 || (words.count > 5 && words[5] == "l"),
                    let instance = InstanceID(rawValue: String(words[1])), let values = numbers(words[2..<5]),
                    let times = buckets(words.dropFirst(6))
                else { throw bad }
                app?.counts.instances[instance] = Instance(
                    requests: values[0], errors: values[1], inFlight: values[2],
                    latency: words.count > 5 ? LatencyHistogram(buckets: times) : nil)
            case "end":
                if let app { counters?.apps[app.name] = app.counts }
                complete = true
            default: throw bad
            }
        }
        guard complete, let counters else { throw ParseError(line: number) }
        return counters
    }

    /// Whole numbers; a gauge that was read between two writes may come as -1 and counts as 0.
    private static func numbers(_ words: ArraySlice<some StringProtocol>) -> [UInt64]? {
        var values: [UInt64] = []
        for word in words {
            guard let value = Int64(word) else { return nil }
            values.append(UInt64(max(0, value)))
        }
        return values
    }

    private static func buckets(_ words: ArraySlice<some StringProtocol>) -> [LatencyHistogram.Bucket]? {
        var buckets: [LatencyHistogram.Bucket] = []
        for word in words {
            let pair = word.split(separator: ":")
            guard pair.count == 2, let index = Int(pair[0]), let count = UInt64(pair[1]),
                (0..<LatencyHistogram.bucketCount).contains(index)
            else { return nil }
            buckets.append(LatencyHistogram.Bucket(index: index, count: count))
        }
        return buckets
    }
}
