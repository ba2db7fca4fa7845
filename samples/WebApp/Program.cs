// A web program with a cache of K/V: memory before a silo by dependency injection, a health endpoint, OpenTelemetry.
// README.md beside this file says how it is run.
using KvCache;
using KvCache.Client;
using KvCache.WebApp;
using OpenTelemetry;
using OpenTelemetry.Metrics;
using OpenTelemetry.Trace;

var builder = WebApplication.CreateBuilder(args);

builder.Services
    .AddKeyedLocalKvCache("memory", ByteSize.Parse(builder.Configuration["Cache:Memory"] ?? "64MiB"))
    .AddKeyedKvCacheClient("silo", builder.Configuration.GetSection("Cache:Silo"))
    .AddTieredKvCache("memory", "silo") // the IKvCache
    .AddSingleton<PromptService>();
builder.Services.AddHealthChecks().AddKvCache();

var telemetry = builder.Services.AddOpenTelemetry()
    .WithTracing(tracing => tracing.AddSource("Microsoft.AspNetCore", KvCacheTelemetry.ActivitySourceName))
    .WithMetrics(metrics => metrics.AddMeter(KvCacheTelemetry.MeterName).AddPrometheusExporter());
if (builder.Configuration["OTEL_EXPORTER_OTLP_ENDPOINT"] is not null)
    telemetry.UseOtlpExporter();

var app = builder.Build();
app.MapHealthChecks("/health");
app.MapPrometheusScrapingEndpoint("/metrics");
app.MapPost("/prompts", async (HttpRequest request, PromptService prompts, CancellationToken cancellationToken) =>
{
    using var body = new StreamReader(request.Body);
    return await prompts.PrefillAsync(await body.ReadToEndAsync(cancellationToken), cancellationToken);
});
app.MapGet("/statistics", async (IKvCache cache) => (await cache.GetStatisticsAsync()).ToString());
app.Run();
