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

    /// The digest that an image's tag stands for: of the image on this host, where it is there and may be used as it is,
    /// else what its registry says now.
    /// - Returns: nil for an image that no registry knows: it was made on this host.
    /// - Throws: as `pull`. An engine that can't ask registries (Podman) pulls the image.
    package func digest(
        of reference: String, preferringLocal: Bool, registryAuthentication: String? = nil
    ) async throws(EngineError) -> String? {
        if preferringLocal, let document = try await imageDocument(reference) {
            return Self.digest(in: document, of: reference)
        }
        let operation = "look up image \(reference)"
        let call = EngineTransport.Call(
            operation: operation, method: .GET, path: "/distribution/\(PercentEncoding.component(reference))/json",
            headers: registryAuthentication.map { [("X-Registry-Auth", $0)] } ?? [],
            timeout: configuration.requestTimeout)
        do {
            let answer = try await transport.send(call)
            return try decode(DistributionDocument.self, answer.body, operation).Descriptor.digest
        } catch  where error.code == .notFound && error.message.contains("is not supported") {
            // Podman only knows what it has pulled.
            try await pull(reference, registryAuthentication: registryAuthentication)
            return try await imageDocument(reference).flatMap { Self.digest(in: $0, of: reference) }
        }
    }

    private static func digest(in document: ImageDocument, of reference: String) -> String? {
        let name = ImageReference(reference).name
        return (document.RepoDigests ?? []).lazy.compactMap { entry -> String? in
            let parts = entry.split(separator: "@", maxSplits: 1)
            guard parts.count == 2, isSame(String(parts[0]), name) else { return nil }
            return String(parts[1])
        }.first
    }

    /// Engines write Docker Hub's images with or without its name.
    private static func isSame(_ left: String, _ right: String) -> Bool {
        func short(_ name: String) -> String {
            var rest = name[...]
            for prefix in ["docker.io/", "library/"] where rest.hasPrefix(prefix) {
                rest = rest.dropFirst(prefix.count)
            }
            return String(rest)
        }
        return short(left) == short(right)
    }

    /// Takes a name of an image away, and the image with its last name.
    /// - Returns: false when a container still uses it.
    package func removeImage(_ reference: String) async throws(EngineError) -> Bool {
        let operation = "remove image \(reference)"
        let answer = try await send(
            operation, .DELETE, "/images/\(PercentEncoding.component(reference))", timeout: configuration.startTimeout,
            accepting: [404, 409])
        return answer.status != 409
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
            let isMissing = lower.contains("not found") || EngineTransport.isRegistryRefusal(lower)
            throw EngineError(isMissing ? .imageMissing : .serverError, operation: operation, message: message)
        }
        onProgress(
            PullProgress(
                layer: document.id ?? "", status: document.status ?? "",
                currentBytes: document.progressDetail?.current, totalBytes: document.progressDetail?.total))
    }
}
