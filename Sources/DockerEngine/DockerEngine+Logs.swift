import AsyncHTTPClient
import NIOHTTP1
import OrchestryModel

extension DockerEngine {
    /// What one call may return: enough for a person, and no danger to the node's memory.
    private static let maximumLogLines = 10_000
    private static let maximumLogBytes = 8 << 20

    /// The last lines a container wrote, oldest first. Each stream is in the order of writing; between the two the engine,
    /// which reads them separately, may mix up what was written within moments.
    /// - Parameter tail: how many, 1…10,000; fewer come when they are longer than 8 MiB together.
    /// - Throws: `notFound` also for a container that is not this node's.
    package func logs(_ containerID: String, tail: Int) async throws(EngineError) -> [LogLine] {
        let operation = "read logs"
        let document = try await self.document(of: containerID, operation)
        guard ManagedContainer(document, configuration: configuration) != nil else {
            throw EngineError(.notFound, operation: operation, message: "\(containerID) is not this node's")
        }
        let wanted = min(max(1, tail), Self.maximumLogLines)
        let call = EngineTransport.Call(
            operation: operation, method: .GET, path: "/containers/\(containerID)/logs",
            query: [("stdout", "1"), ("stderr", "1"), ("timestamps", "1"), ("tail", String(wanted))],
            timeout: configuration.requestTimeout)
        let isRaw = document.Config.Tty ?? false
        do {
            return try await transport.within(configuration.requestTimeout, of: call) { [transport] in
                var decoder = LogDecoder(isRaw: isRaw)
                var lines: [LogLine] = []
                var bytes = 0
                for try await chunk in try await transport.stream(call) {
                    for line in try decoder.feed(chunk) {
                        bytes += line.text.utf8.count
                        lines.append(line)
                    }
                    if bytes > 2 * Self.maximumLogBytes { Self.trim(&lines, &bytes) }
                }
                lines += decoder.finish()
                bytes = lines.reduce(0) { $0 + $1.text.utf8.count }
                Self.trim(&lines, &bytes)
                return lines.suffix(wanted)
            }
        } catch {
            throw EngineTransport.translate(error, operation)
        }
    }

    /// Drops the oldest lines beyond the limit.
    private static func trim(_ lines: inout [LogLine], _ bytes: inout Int) {
        var dropped = 0
        while bytes > maximumLogBytes, dropped < lines.count {
            bytes -= lines[dropped].text.utf8.count
            dropped += 1
        }
        lines.removeFirst(dropped)
    }
}
