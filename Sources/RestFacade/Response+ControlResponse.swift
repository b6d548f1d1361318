import HTTPTypes
import Hummingbird
import NIOCore
import OrchestryModel

extension Response {
    /// The answer of the control plane as HTTP: a problem document from 400 on.
    init(_ answer: ControlResponse) {
        let isError = answer.status >= 400
        var headers: HTTPFields = [
            .contentType: isError ? "application/problem+json" : "application/json", .cacheControl: "no-store",
        ]
        if let seconds = answer.retryAfterSeconds {
            headers[.retryAfter] = String(seconds)
        } else if answer.status == 503 {
            headers[.retryAfter] = "1"
        }
        // A status outside HTTP's range can only be a fault of ours.
        let code = (200...599).contains(answer.status) ? answer.status : 500
        self.init(
            status: HTTPResponse.Status(code: code), headers: headers,
            body: ResponseBody(byteBuffer: ByteBuffer(bytes: answer.body.jsonBytes())))
    }

    static func json(_ body: JSONValue) -> Response { Response(ControlResponse(body: body)) }

    static func text(_ text: String, contentType: String) -> Response {
        Response(
            status: .ok, headers: [.contentType: contentType, .cacheControl: "no-store"],
            body: ResponseBody(byteBuffer: ByteBuffer(string: text)))
    }
}
