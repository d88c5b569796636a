# What `sidekiq -r` loads, and the bulk enqueue: `ruby peers/sidekiq.rb COUNT` prints the seconds that it took.
require 'sidekiq'

Sidekiq.configure_server { |config| config.redis = { url: ENV.fetch('BENCH_URL') } }
Sidekiq.configure_client { |config| config.redis = { url: ENV.fetch('BENCH_URL') } }

class Noop
  include Sidekiq::Worker
  def perform(number, text); end
end

class Stamp
  include Sidekiq::Worker
  def perform(due)
    late = (Time.now.to_f - due) * 1000
    File.write(ENV.fetch('BENCH_STAMPS'), format("%.3f\n", late), mode: 'a')
  end
end

if $PROGRAM_NAME == __FILE__
  words = { 'bulk' => ->(some) { Sidekiq::Client.push_bulk('class' => Noop, 'args' => some) } }
  how, count = ARGV[0], ARGV[1].to_i
  jobs = (0...count).map { |number| [number, 'twenty characters...'] }
  began = Process.clock_gettime(Process::CLOCK_MONOTONIC)
  if how == 'bulk'
    jobs.each_slice(1000, &words['bulk'])
  else
    jobs.each { |arguments| Noop.perform_async(*arguments) }
  end
  puts Process.clock_gettime(Process::CLOCK_MONOTONIC) - began
end
