namespace KvCache.Benchmarks.Workloads;

/// <summary>Draws of a seed: the same seed gives the same workload everywhere.</summary>
internal sealed class Chance(int seed)
{
    private readonly Random _random = new(seed);

    public bool Happens(double probability) => _random.NextDouble() < probability;

    /// <summary>A whole number, least and most included.</summary>
    public int Between(int least, int most) => _random.Next(least, most + 1);

    /// <summary>Time to the next of events that have nothing to do with one another.</summary>
    public double Exponential(double mean) => -mean * Math.Log(1 - _random.NextDouble());

    /// <summary>Sizes and times of people: many small ones, few large ones.</summary>
    /// <param name="median">Half are below.</param>
    /// <param name="sigma">Spread: 1 means that two thirds are within a factor of e.</param>
    public double LogNormal(double median, double sigma)
    {
        var normal = Math.Sqrt(-2 * Math.Log(1 - _random.NextDouble())) * Math.Cos(2 * Math.PI * _random.NextDouble());
        return median * Math.Exp(sigma * normal);
    }

    /// <summary>Tokens, log-normal between two bounds.</summary>
    public int Tokens(double median, double sigma, int least, int most) => (int)Math.Clamp(LogNormal(median, sigma), least, most);

    /// <summary>One of some, the first ones most often (Zipf).</summary>
    public T Popular<T>(IReadOnlyList<T> items, double exponent)
    {
        var left = _random.NextDouble() * items.Select((_, i) => Weight(i)).Sum();
        for (var i = 0; i < items.Count; i++)
        {
            left -= Weight(i);
            if (left <= 0)
                return items[i];
        }

        return items[^1];

        double Weight(int i) => Math.Pow(i + 1, -exponent);
    }
}
