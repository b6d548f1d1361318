/// Why a certificate could not be made, read or written.
package struct CertificateError: Error, Hashable, Sendable, CustomStringConvertible {
    package enum Code: String, Hashable, Sendable {
        /// The node's name is not a DNS label.
        case invalidName
        /// An address is not an IPv4 or IPv6 literal.
        case invalidAddress
        /// There is an authority already; making another would lock out every node.
        case exists
        /// A file is missing, unreadable or not PEM.
        case unreadable
        /// The certificate and key that should sign can't: not an authority's, not a pair, or expired.
        case notAnAuthority
        case unwritable
        /// The key is another certificate's.
        case mismatched
        /// The certificate is not valid any more, or not yet.
        case expired
        /// No trusted authority has signed the certificate.
        case untrusted
    }
    package var code: Code
    /// What happened, and where: safe to show, never a key.
    package var message: String

    package init(_ code: Code, _ message: String) {
        self.code = code
        self.message = message
    }
    package var description: String { message }
}
