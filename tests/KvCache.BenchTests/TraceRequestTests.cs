using KvCache.Benchmarks;

namespace KvCache.BenchTests;

public sealed class TraceRequestTests
{
    [Fact]
    public void A_line_is_a_request()
    {
        var request = TraceRequest.Parse("""{"timestamp": 27482, "input_length": 6955, "output_length": 52, "hash_ids": [46, 47, 2353]}""");
        Assert.NotNull(request);
        Assert.Equal((27482, 6955, 52), (request.Timestamp, request.InputLength, request.OutputLength));
        Assert.Equal([46, 47, 2353], request.HashIds);
    }

    [Theory]
    [InlineData("")]
    [InlineData("{")]
    [InlineData("null")]
    [InlineData("{}")]
    [InlineData("""{"hash_ids": ["a"]}""")]
    public void Anything_else_is_not(string line) => Assert.Null(TraceRequest.Parse(line));
}
