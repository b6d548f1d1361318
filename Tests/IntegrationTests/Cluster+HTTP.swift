import AsyncHTTPClient
import Foundation
import NIOCore
import NIOHTTP1
import OrchestryModel
import TestSupport

/// Requests to the nodes and, through their proxies, to apps.
extension Cluster {
    struct Answer: Sendable {
        var status: Int
        var json: JSONValue
        var text: String
        var headers: HTTPHeaders
    }

    func get(_ path: String, from member: Member) async throws -> Answer {
        try await send(.GET, "http://127.0.0.1:\(member.apiPort)\(path)")
    }

    func post(
        _ path: String, _ body: JSONValue? = nil, to member: Member, headers: [(String, String)] = []
    ) async throws -> Answer {
        try await send(.POST, "http://127.0.0.1:\(member.apiPort)\(path)", body: body, headers: headers)
    }

    func put(
        _ path: String, _ body: JSONValue, to member: Member, headers: [(String, String)] = []
    ) async throws -> Answer {
        try await send(.PUT, "http://127.0.0.1:\(member.apiPort)\(path)", body: body, headers: headers)
    }

    /// Through whatever listens there.
    func post(_ path: String, _ body: JSONValue?, toPort port: Int) async throws -> Answer {
        try await send(.POST, "http://127.0.0.1:\(port)\(path)", body: body)
    }

    func get(_ path: String, port: Int) async throws -> Answer {
        try await send(.GET, "http://127.0.0.1:\(port)\(path)")
    }

    func delete(_ path: String, from member: Member) async throws -> Answer {
        try await send(.DELETE, "http://127.0.0.1:\(member.apiPort)\(path)")
    }

    func send(
        _ method: HTTPMethod, _ path: String, to member: Member, body: JSONValue? = nil,
        headers: [(String, String)] = []
    ) async throws -> Answer {
        try await send(method, "http://127.0.0.1:\(member.apiPort)\(path)", body: body, headers: headers)
    }

    /// A request to an app through a node's nginx.
    func app(
        _ host: String, _ path: String = "/", via member: Member, within limit: TimeAmount = .seconds(15)
    ) async throws -> Answer {
        var request = HTTPClientRequest(url: "http://127.0.0.1:\(member.proxyPort)\(path)")
        request.headers.add(name: "Host", value: host)
        return try await execute(request, within: limit)
    }

    /// One that nginx does not send twice.
    func post(_ path: String, to host: String, via member: Member) async throws -> Answer {
        try await send(.POST, "http://127.0.0.1:\(member.proxyPort)\(path)", headers: [("Host", host)])
    }

    func raw(_ path: String, body: [UInt8], to member: Member) async throws -> Answer {
        var request = HTTPClientRequest(url: "http://127.0.0.1:\(member.apiPort)\(path)")
        request.method = .POST
        request.headers.add(name: "Content-Type", value: "application/json")
        request.body = .bytes(body)
        authenticate(&request)
        return try await execute(request)
    }

    private func authenticate(_ request: inout HTTPClientRequest) {
        guard let token = options.bootstrapToken, !request.headers.contains(name: "Authorization") else { return }
        request.headers.add(name: "Authorization", value: "Bearer \(token)")
    }

    func send(
        _ method: HTTPMethod, _ url: String, body: JSONValue? = nil, headers: [(String, String)] = []
    ) async throws -> Answer {
        var request = HTTPClientRequest(url: url)
        request.method = method
        for (name, value) in headers { request.headers.add(name: name, value: value) }
        authenticate(&request)
        if let body {
            request.headers.add(name: "Content-Type", value: "application/json")
            request.body = .bytes(try JSONEncoder().encode(body))
        }
        return try await execute(request)
    }

    private func execute(_ request: HTTPClientRequest, within limit: TimeAmount = .seconds(15)) async throws -> Answer {
        let response = try await http.execute(request, timeout: limit)
        let bytes = try await response.body.collect(upTo: 16 << 20)
        let text = String(buffer: bytes)
        // Not every body is JSON: apps answer what they like.
        let json = (try? JSONDecoder().decode(JSONValue.self, from: Data(text.utf8))) ?? .null
        return Answer(status: Int(response.status.code), json: json, text: text, headers: response.headers)
    }
}
