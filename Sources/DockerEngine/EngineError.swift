/// A call to the container engine that failed.
package struct EngineError: Error, Hashable, Sendable, CustomStringConvertible {
    package enum Code: String, Hashable, Sendable {
        /// The engine can't be reached, or went away during the call.
        case unavailable
        /// The container (of this cluster and node), image or network does not exist.
        case notFound
        /// The engine's state forbids the call: a name in use, a removal in progress.
        case conflict
        /// The image is not on this host, or its registry does not have it.
        case imageMissing
        /// The engine refused the request's content: the spec can't work here, whoever repeats it.
        case invalid
        case serverError
        /// No whole answer in time; the call may have had its effect.
        case timeout
        /// The calling task was cancelled.
        case cancelled
        /// The engine said something that is not the Engine API.
        case malformed
    }
    package var code: Code
    /// What was tried, in a few words: "start container".
    package var operation: String
    /// For the operator; safe to log: never a value of an environment variable.
    package var message: String

    package init(_ code: Code, operation: String, message: String) {
        self.code = code
        self.operation = operation
        self.message = message
    }

    /// Whether the same call may well succeed later.
    package var isRetryable: Bool {
        switch code {
        case .unavailable, .timeout, .serverError, .conflict: true
        case .notFound, .imageMissing, .invalid, .cancelled, .malformed: false
        }
    }

    package var description: String { "cannot \(operation): \(message) (\(code.rawValue))" }
}
