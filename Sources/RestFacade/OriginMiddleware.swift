import HTTPTypes
import Hummingbird
import OrchestryModel

extension HTTPField.Name {
    static let allowOrigin = HTTPField.Name("Access-Control-Allow-Origin")!  // A literal that is a header's name.
    static let allowMethods = HTTPField.Name("Access-Control-Allow-Methods")!  // As above.
    static let allowHeaders = HTTPField.Name("Access-Control-Allow-Headers")!  // As above.
    static let exposeHeaders = HTTPField.Name("Access-Control-Expose-Headers")!  // As above.
    static let maxAge = HTTPField.Name("Access-Control-Max-Age")!  // As above.
    static let requestMethod = HTTPField.Name("Access-Control-Request-Method")!  // As above.
}

/// What pages of other origins may do from a browser: nothing, unless configured (CORS, the Fetch standard §3.2).
///
/// CORS alone keeps foreign pages from reading answers, not from sending: a form on any page could stop an app of an API
/// on loopback that asks for no credentials. So writes from other origins are refused here.
struct OriginMiddleware: RouterMiddleware {
    typealias Context = FacadeContext
    let allowed: Set<String>

    func handle(
        _ request: Request, context: FacadeContext,
        next: (Request, FacadeContext) async throws -> Response
    ) async throws -> Response {
        guard let origin = request.headers[.origin] else { return try await next(request, context) }
        guard allowed.contains(origin.lowercased()) else {
            // CORS does not hold for WebSockets: browsers let pages of any origin open them, and read what comes.
            let isRead = [.get, .head, .options].contains(request.method) && request.headers[.upgrade] == nil
            guard isRead || Self.isSame(origin, as: request) else {
                throw Problem.forbidden(
                    "A page of \(origin.prefix(100)) may not change anything here: name its origin in api.cors_origins."
                )
            }
            return try await next(request, context)
        }
        if request.method == .options, request.headers[.requestMethod] != nil {
            var methods = RestRoute.methods(for: request.uri.path).map(\.rawValue)
            if methods.isEmpty { methods = ["GET"] }
            return Response(
                status: .noContent,
                headers: [
                    .allowOrigin: origin, .vary: "Origin", .allowMethods: methods.joined(separator: ", "),
                    .allowHeaders: "Authorization, Content-Type, Idempotency-Key, Last-Event-ID, X-Request-Id",
                    .maxAge: "600",
                ])
        }
        var response: Response
        do {
            response = try await next(request, context)
        } catch let problem as Problem {
            response = Response(ControlResponse(problem))
        } catch let invalid as ValidationError {
            response = Response(ControlResponse(.invalid(invalid)))
        }
        response.headers[.allowOrigin] = origin
        response.headers[.vary] = "Origin"
        response.headers[.exposeHeaders] = "Idempotency-Key, Retry-After, X-Request-Id, WWW-Authenticate"
        return response
    }

    /// The page came from this very server: the browser says the host it asked in both.
    private static func isSame(_ origin: String, as request: Request) -> Bool {
        guard let host = request.head.authority, let scheme = origin.firstRange(of: "://") else { return false }
        return origin[scheme.upperBound...].lowercased() == host.lowercased()
    }
}
