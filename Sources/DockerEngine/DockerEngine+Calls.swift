import NIOCore
import NIOHTTP1
import OrchestryModel

extension DockerEngine {
    @discardableResult
    func send(
        _ operation: String, _ method: HTTPMethod, _ path: String, query: [(name: String, value: String)] = [],
        body: ByteBuffer? = nil, timeout: Duration? = nil, accepting: Set<UInt> = []
    ) async throws(EngineError) -> (status: UInt, body: ByteBuffer) {
        try await transport.send(
            EngineTransport.Call(
                operation: operation, method: method, path: path, query: query, body: body,
                timeout: timeout ?? configuration.requestTimeout),
            accepting: accepting)
    }
}
