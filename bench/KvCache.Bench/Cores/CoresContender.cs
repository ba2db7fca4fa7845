using System.Diagnostics;
using KvCache.Bench.Measuring;

namespace KvCache.Bench.Cores;

/// <summary>The same work by one thread or by several; the figure of a round is millions of operations a second of all together.</summary>
/// <param name="name">Row name.</param>
/// <param name="work">For each thread what it does over and over; answers operations done.</param>
internal sealed class CoresContender(string name, IReadOnlyList<Func<int>> work) : IContender
{
    private static readonly TimeSpan Round = TimeSpan.FromMilliseconds(200);

    public string Name => name;

    public IReadOnlyList<string> ComparedWith => [];

    public int Threads => work.Count;

    public double Measure()
    {
        long operations = 0;
        var elapsed = Crew.Run([.. work.Select<Func<int>, Action>(body => () =>
        {
            var (began, done) = (Stopwatch.GetTimestamp(), 0L);
            while (Stopwatch.GetElapsedTime(began) < Round)
                done += body();
            Interlocked.Add(ref operations, done);
        })]);
        return operations / elapsed.TotalMicroseconds;
    }
}
