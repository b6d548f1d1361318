import Measuring
import Testing

struct RateProfileTests {
    @Test func `a constant rate spaces requests evenly`() {
        let profile = RateProfile(constant: 50, seconds: 2)
        #expect(profile.count == 100)
        #expect(profile.time(of: 0) == 0 && abs(profile.time(of: 99) - 1.98) < 1e-9)
    }

    @Test func `parts follow each other, a ramp sends its area`() throws {
        let profile = try #require(RateProfile("20x10,0-100x4,100-0x4"))
        #expect(profile.count == 200 + 200 + 200 && profile.duration == 18)
        #expect(profile.time(of: 200) == 10)
        // A quarter of the ramp's requests are sent in its first half.
        #expect(abs(profile.time(of: 250) - 12) < 1e-6)
        // Downwards it is three quarters.
        #expect(abs(profile.time(of: 550) - 16) < 1e-6)
        let times = (0..<profile.count).map(profile.time(of:))
        #expect(zip(times, times.dropFirst()).allSatisfy { $0 <= $1 })
    }

    @Test func `a part can come several times`() throws {
        #expect(RateProfile("3*0-100x2,5x1") == RateProfile("0-100x2,0-100x2,0-100x2,5x1"))
    }

    @Test func `a file has parts on its lines`() throws {
        let text = "# a morning\n20x10\n\n  2*0-100x4  # a saw\n100-0x4,1x1\n"
        #expect(RateProfile(file: text) == RateProfile("20x10,0-100x4,0-100x4,100-0x4,1x1"))
        #expect(RateProfile(file: "20x10\nmany") == nil && RateProfile(file: "# nothing\n") == nil)
    }

    @Test(arguments: ["0*20x1", "-1*20x1", "2*", "*20x1", "2*3*20x1", "x*20x1", "1000001*20x1"])
    func `other numbers of times are refused`(_ text: String) {
        #expect(RateProfile(text) == nil)
    }

    @Test(arguments: ["", "20", "20x", "x10", "20x10,", "-5x10", "1-2-3x4", "0x10", "20x0", "nanx1"])
    func `anything else is refused`(_ text: String) {
        #expect(RateProfile(text) == nil)
    }
}
