import AsyncHTTPClient
import NIOHTTP1
import OrchestryModel

extension DockerEngine {
    /// Hands over what a container writes, in the order of writing, until the container has ended. While `take` does not
    /// return nothing more is read: the engine keeps it meanwhile, as it does with all output.
    /// - Parameters:
    ///   - last: only lines after this one; nil: see `tail`.
    ///   - tail: how many of the last lines to begin with, at least 0; nil: all that the engine has.
    ///   - opened: called when the stream stands.
    /// - Throws: `EngineError`; `notFound` also for a container that is not this node's, `cancelled`.
    package func followLogs(
        _ containerID: String, after last: LogLine.Position?, tail: Int?, opened: @Sendable () async -> Void,
        _ take: @Sendable ([LogLine]) async -> Void
    ) async throws(EngineError) {
        let operation = "follow logs"
        let document = try await self.document(of: containerID, operation)
        guard ManagedContainer(document, configuration: configuration) != nil else {
            throw EngineError(.notFound, operation: operation, message: "\(containerID) is not this node's")
        }
        var query = [("follow", "1"), ("stdout", "1"), ("stderr", "1"), ("timestamps", "1")]
        if let last {
            query.append(("since", last.next.engineText))
        } else if let tail {
            query.append(("tail", String(max(tail, 0))))
        }
        let call = EngineTransport.Call(
            operation: operation, method: .GET, path: "/containers/\(containerID)/logs", query: query,
            timeout: configuration.requestTimeout)
        do {
            var decoder = LogDecoder(isRaw: document.Config.Tty ?? false)
            let body = try await transport.stream(call)
            await opened()
            for try await chunk in body {
                let lines = try decoder.feed(chunk)
                if !lines.isEmpty { await take(lines) }
            }
            await take(decoder.finish())
        } catch {
            throw EngineTransport.translate(error, operation)
        }
    }
}

extension LogLine.Position {
    fileprivate var next: Self {
        nanoseconds < 999_999
            ? Self(time: time, nanoseconds: nanoseconds + 1)
            : Self(time: WallTime(milliseconds: time.milliseconds + 1), nanoseconds: 0)
    }

    /// Seconds with nine digits after the point.
    fileprivate var engineText: String {
        let fraction = String(time.milliseconds % 1_000 * 1_000_000 + Int64(nanoseconds))
        return "\(time.milliseconds / 1_000).\(String(repeating: "0", count: max(0, 9 - fraction.count)))\(fraction)"
    }
}
