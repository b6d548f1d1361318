import HTTPTypes
import Hummingbird
import Logging
import NIOCore
import OrchestryModel

extension HTTPField.Name {
    static let requestID = HTTPField.Name("X-Request-Id")!  // A literal that is a header's name.
    static let forwardedFor = HTTPField.Name("X-Forwarded-For")!  // As above.
    static let idempotencyKey = HTTPField.Name("Idempotency-Key")!  // As above.
}

/// Around every route, the missing ones too: gives the request its id, turns every error into a problem document, and
/// logs the outcome.
struct FacadeMiddleware: RouterMiddleware {
    typealias Context = FacadeContext
    let logger: Logger

    func handle(
        _ request: Request, context: FacadeContext,
        next: (Request, FacadeContext) async throws -> Response
    ) async throws -> Response {
        let started = ContinuousClock.now
        var context = context
        context.requestID = Self.requestID(of: request)
        var response: Response
        do {
            response = try await next(request, context)
        } catch {
            let problem = self.problem(for: error, request: request, context: context)
            response = Self.response(to: problem, request: request)
            if problem.status == 413 { closeSoon(context.channel, &response) }
        }
        if response.status == .unauthorized { response.headers[.wwwAuthenticate] = Self.challenge(to: request) }
        response.headers[.requestID] = context.requestID
        // An error has a body even where the method forbids sending one.
        if request.method == .head { response = response.createHeadResponse() }
        logger.debug(
            "Answered a request",
            metadata: [
                "request.id": "\(context.requestID)", "method": "\(request.method.rawValue)",
                "path": "\(request.uri.path)", "status": "\(response.status.code)",
                "milliseconds": "\((ContinuousClock.now - started).inMilliseconds)",
            ])
        return response
    }

    /// RFC 6750 §3.
    private static func challenge(to request: Request) -> String {
        "Bearer realm=\"orchestry\"" + (request.headers[.authorization] == nil ? "" : ", error=\"invalid_token\"")
    }

    private static func requestID(of request: Request) -> String {
        if let given = request.headers[.requestID], (1...64).contains(given.utf8.count),
            given.utf8.allSatisfy({ $0 > 0x20 && $0 < 0x7F })
        {
            return given
        }
        return randomHex()
    }

    private func problem(for error: any Error, request: Request, context: FacadeContext) -> Problem {
        switch error {
        case let problem as Problem:
            return problem
        case let invalid as ValidationError:
            return .invalid(invalid)
        case let error as HTTPError where error.status == .notFound:
            return unrouted(request)
        case let error as HTTPError:
            return Problem(
                status: error.status.code, code: "bad-request", title: error.status.reasonPhrase,
                detail: error.body ?? error.status.reasonPhrase)
        case is CancellationError:
            return Problem(
                status: 503, code: "stopping", title: "This node is stopping",
                detail: "The node stops and did not finish the request. Ask another node.", retryAfterSeconds: 1)
        default:
            logger.error(
                "A request failed inside the facade",
                metadata: ["request.id": "\(context.requestID)", "error": "\(String(reflecting: error))"])
            return Problem(
                status: 500, code: "internal", title: "The node failed",
                detail: "This is a fault of the node, not of the request. Its log has more under request id "
                    + "\(context.requestID).")
        }
    }

    private func unrouted(_ request: Request) -> Problem {
        let path = DocumentPath.shown(request.uri.path)
        let methods = RestRoute.methods(for: request.uri.path)
        guard methods.isEmpty else {
            let allowed = methods.map(\.rawValue).joined(separator: ", ")
            return Problem(
                status: 405, code: "method-not-allowed", title: "Method Not Allowed",
                detail: "\(request.method.rawValue) is not possible on \(path); it takes \(allowed).")
        }
        return Problem(
            status: 404, code: "no-such-path", title: "Not Found",
            detail: "There is nothing at \(path). GET /openapi.json lists what there is.")
    }

    private static func response(to problem: Problem, request: Request) -> Response {
        var response = Response(ControlResponse(problem))
        if problem.status == 405 {
            response.headers[.allow] =
                RestRoute.methods(for: request.uri.path).map(\.rawValue).joined(separator: ", ")
        }
        return response
    }

    /// After a refused upload: the client gets a moment to read the answer, then the rest of its body is cut off.
    private func closeSoon(_ channel: any Channel, _ response: inout Response) {
        response.headers[.connection] = "close"
        _ = channel.eventLoop.scheduleTask(in: .seconds(5)) { channel.close(promise: nil) }
    }
}

enum DocumentPath {
    /// A path fit for an answer: at most 100 characters.
    static func shown(_ path: String) -> String { path.count > 100 ? path.prefix(97) + "..." : path }
}

/// 16 hexadecimal digits.
func randomHex() -> String {
    let digits = String(UInt64.random(in: .min ... .max), radix: 16)
    return String(repeating: "0", count: 16 - digits.count) + digits
}
