/// When each source first named each instance: of a stream of answers, the beginning of every new voice.
package struct FirstAnswers: Hashable, Sendable {
    /// Source → instance → time; whose unit is the caller's.
    private var times: [String: [String: Double]] = [:]

    package init() {}

    /// - Returns: whether it is the first answer of this instance through this source.
    @discardableResult
    package mutating func note(_ instance: String, through source: String, at time: @autoclosure () -> Double) -> Bool {
        if times[source]?[instance] != nil { return false }
        times[source, default: [:]][instance] = time()
        return true
    }

    package func time(of instance: String, through source: String) -> Double? { times[source]?[instance] }

    /// The instances that any source has named.
    package var instances: Set<String> { times.values.reduce(into: []) { $0.formUnion($1.keys) } }

    /// When the last of `sources` first named it; nil: not all have.
    package func everywhere(_ instance: String, sources: [String]) -> Double? {
        let found = sources.compactMap { time(of: instance, through: $0) }
        return found.count == sources.count ? found.max() : nil
    }

    /// The times at which instances were first named by any source, ascending.
    package var beginnings: [Double] {
        instances.compactMap { instance in times.values.compactMap { $0[instance] }.min() }.sorted()
    }

    /// The `"instance":"…"` of the demo app's answer, found without parsing the whole.
    package static func instance(in body: some Collection<UInt8>) -> String? {
        let text = String(decoding: body, as: UTF8.self)
        guard let key = text.firstRange(of: "\"instance\":\"") else { return nil }
        let rest = text[key.upperBound...]
        return rest.firstIndex(of: "\"").map { String(rest[..<$0]) }
    }
}
