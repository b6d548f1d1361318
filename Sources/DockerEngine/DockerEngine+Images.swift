import AsyncHTTPClient
import NIOHTTP1
import OrchestryModel

/// One line of a pull's progress.
package struct PullProgress: Hashable, Sendable {
    /// A layer's short id, or the tag; empty for the pull as a whole.
    package var layer: String
    /// The engine's words: "Downloading", "Pull complete".
    package var status: String
    /// Bytes, where the engine says.
    package var currentBytes: Int64?
    package var totalBytes: Int64?

    package init(layer: String, status: String, currentBytes: Int64? = nil, totalBytes: Int64? = nil) {
        self.layer = layer
        self.status = status
        self.currentBytes = currentBytes
        self.totalBytes = totalBytes
    }
}

extension DockerEngine {
    /// Whether a container can be made of this image without pulling.
    package func imageIsPresent(_ reference: String) async throws(EngineError) -> Bool {
        try await imageDocument(reference) != nil
    }

    func imageDocument(_ reference: String) async throws(EngineError) -> ImageDocument? {
        let operation = "inspect image \(reference)"
        let answer = try await send(
            operation, .GET, "/images/\(PercentEncoding.component(reference))/json", accepting: [404])
        return answer.status == 404 ? nil : try decode(ImageDocument.self, answer.body, operation)
    }

    /// Fetches an image from its registry.
    /// - Parameters:
    ///   - reference: `repository[:tag][@sha256:…]`; without a tag, `latest`.
    ///   - registryAuthentication: the engine's `X-Registry-Auth` header (base64url JSON); nil: anonymous.
    ///   - onProgress: called for each line of progress, in order.
    /// - Throws: `imageMissing` when the registry does not have it or refuses; `timeout` after `pullTimeout`.
    package func pull(
        _ reference: String, registryAuthentication: String? = nil,
        onProgress: @escaping @Sendable (PullProgress) -> Void = { _ in }
    ) async throws(EngineError) {
        let operation = "pull image \(reference)"
        let image = ImageReference(reference)
        let call = EngineTransport.Call(
            operation: operation, method: .POST, path: "/images/create",
            query: [("fromImage", image.name), ("tag", image.tag)],
            headers: registryAuthentication.map { [("X-Registry-Auth", $0)] } ?? [], timeout: configuration.pullTimeout)
        do {
            try await transport.within(configuration.pullTimeout, of: call) { [transport] in
                var lines = LineSplitter()
                for try await chunk in try await transport.stream(call) {
                    for line in try lines.feed(chunk) { try Self.take(line, operation, onProgress) }
                }
                if let line = lines.finish() { try Self.take(line, operation, onProgress) }
            }
        } catch {
            throw EngineTransport.translate(error, operation)
        }
    }

    /// A failed pull still answers 200: the failure is a line of the stream.
    private static func take(
        _ line: [UInt8], _ operation: String, _ onProgress: (PullProgress) -> Void
    ) throws {
        guard !line.isEmpty else { return }
        let document = try EngineJSON.decode(PullDocument.self, from: line)
        if let message = document.error {
            let lower = message.lowercased()
            let isMissing = ["not found", "manifest unknown", "access denied", "unauthorized"].contains {
                lower.contains($0)
            }
            throw EngineError(isMissing ? .imageMissing : .serverError, operation: operation, message: message)
        }
        onProgress(
            PullProgress(
                layer: document.id ?? "", status: document.status ?? "",
                currentBytes: document.progressDetail?.current, totalBytes: document.progressDetail?.total))
    }
}
