import OrchestryModel
import ProxyConfig

/// Reads figures from the running nginx, on a queue of its own: a reload that takes its time does not hold it up.
actor NginxReader {
    nonisolated let executor = SerialQueueExecutor(label: "orchestry.proxy.read")
    nonisolated var unownedExecutor: UnownedSerialExecutor { executor.asUnownedSerialExecutor() }

    private let shared: NginxShared

    init(shared: NginxShared) { self.shared = shared }

    func counters() throws(ProxyError) -> ProxyCounters {
        let operation = "reading counters"
        let layout = try layout(operation)
        guard layout.mode == .lua else {
            throw ProxyError(.unsupported, while: operation, "requests are counted in mode lua only")
        }
        let text = try get("/counters", layout, operation)
        do throws(ProxyCounters.ParseError) {
            return try ProxyCounters.parse(text)
        } catch {
            throw ProxyError(.badAnswer, while: operation, "\(error)")
        }
    }

    func held() throws(ProxyError) -> [HeldRequests.Waiting] {
        let operation = "reading which requests wait"
        let layout = try layout(operation)
        guard layout.mode == .lua else {
            throw ProxyError(.unsupported, while: operation, "requests are held in mode lua only")
        }
        guard let waiting = HeldCounts.parse(try get("/held", layout, operation)) else {
            throw ProxyError(.badAnswer, while: operation, "not the counts of waiting requests")
        }
        return waiting
    }

    func status() throws(ProxyError) -> ProxyStatus {
        let operation = "reading nginx's status"
        let text = try get("/status", layout(operation), operation)
        let numbers = text.split { !$0.isNumber }.compactMap { UInt64($0) }
        guard numbers.count >= 7 else { throw ProxyError(.badAnswer, while: operation, "no figures") }
        return ProxyStatus(
            activeConnections: numbers[0], accepted: numbers[1], handled: numbers[2], requests: numbers[3],
            reading: numbers[4], writing: numbers[5], waiting: numbers[6])
    }

    func membership() throws(ProxyError) -> String {
        let operation = "reading endpoints"
        let layout = try layout(operation)
        guard layout.mode == .lua else {
            throw ProxyError(.unsupported, while: operation, "endpoints are part of the configuration")
        }
        return try get("/membership", layout, operation)
    }

    private func layout(_ operation: String) throws(ProxyError) -> ProxyLayout {
        guard let layout = shared.layout else { throw ProxyError(.notRunning, while: operation, "not started") }
        return layout
    }

    private func get(_ target: String, _ layout: ProxyLayout, _ operation: String) throws(ProxyError) -> String {
        let answer = try LocalHTTP.exchange(socket: layout.adminSocketPath, target: target, timeout: 2)
        guard answer.status == 200 else { throw ProxyError(.badAnswer, while: operation, "status \(answer.status)") }
        return answer.body
    }
}
