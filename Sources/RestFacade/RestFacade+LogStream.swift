import Hummingbird
import OrchestryModel

/// Follows an app's output for one client.
package protocol LogFollowing: Sendable {
    /// The lines whose turn it is, oldest first; none when there were none for so long. nil: this node stops.
    func next(atMost: Duration) async throws(Problem) -> [Presentation.LogLine]?
}

/// `GET /apps/{name}/logs?follow=true`: as server-sent events, each `log` a line. As with events nothing is queued for a
/// client: what it does not take stays where it was written.
extension RestFacade {
    func logStream(of app: AppName, tail: Int, _ request: Request, _ context: FacadeContext) async throws -> Response {
        if let problem = context.caller?.objection(to: .appLogs(app, lines: tail)) { throw problem }
        let follower = try await controlPlane.followLogs(of: app, tail: tail)
        return try stream(request, context) { writer in
            try await writer.write("retry: 1000\n\n")
            while !Task.isCancelled {
                let lines: [Presentation.LogLine]?
                do throws(Problem) {
                    lines = try await follower.next(atMost: writer.untilHeartbeat)
                } catch {
                    if error.status == 404 {
                        return try await writer.write("event: gone\ndata: \(error.json.jsonText())\n\n")
                    }
                    try await writer.write(": \(error.detail.replacing("\n", with: " "))\n\n")
                    try await Task.sleep(for: .seconds(1))
                    continue
                }
                guard let lines else { return try await writer.write(": this node stops; go on at another one\n\n") }
                if lines.isEmpty, writer.untilHeartbeat <= .zero { try await writer.write(": heartbeat\n\n") }
                var text = ""
                for line in lines {
                    text += "event: log\ndata: \(Presentation.logLine(line).jsonText())\n\n"
                    if text.utf8.count >= Self.writeBytes {
                        try await writer.write(text)
                        text = ""
                    }
                }
                if !text.isEmpty { try await writer.write(text) }
            }
        }
    }
}
