import GRPCCore

/// Sends every message back as it comes. Written by hand: messages are bytes, so there is nothing to generate.
struct EchoService: RegistrableRPCService {
    private static let service = ServiceDescriptor(fullyQualifiedService: "orchestry.bench.Echo")
    static let unary = MethodDescriptor(service: service, method: "Unary")
    static let stream = MethodDescriptor(service: service, method: "Stream")

    func registerMethods<Transport: ServerTransport>(with router: inout RPCRouter<Transport>) {
        router.registerHandler(forMethod: Self.unary, deserializer: BytesCoder(), serializer: BytesCoder()) {
            request, _ in
            let single = try await ServerRequest(stream: request)
            return StreamingServerResponse(single: ServerResponse(message: single.message))
        }
        router.registerHandler(forMethod: Self.stream, deserializer: BytesCoder(), serializer: BytesCoder()) {
            request, _ in
            StreamingServerResponse { writer in
                for try await message in request.messages { try await writer.write(message) }
                return [:]
            }
        }
    }
}

/// Bytes as they are.
struct BytesCoder: MessageSerializer, MessageDeserializer {
    func serialize<Bytes: GRPCContiguousBytes>(_ message: [UInt8]) throws -> Bytes { Bytes(message) }
    func deserialize<Bytes: GRPCContiguousBytes>(_ bytes: Bytes) throws -> [UInt8] {
        bytes.withUnsafeBytes { Array($0) }
    }
}
